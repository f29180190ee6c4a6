"""Decodes and measures images, within bounds of memory and pixels."""
