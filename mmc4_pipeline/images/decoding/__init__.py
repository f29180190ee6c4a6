"""Decodes and measures images, within limits of memory and pixels."""
