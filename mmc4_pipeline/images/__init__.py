"""Fetches the linked images, measures them, and stores them."""
