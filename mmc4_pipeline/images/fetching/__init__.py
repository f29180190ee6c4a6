"""Fetches images over HTTP, politely."""
