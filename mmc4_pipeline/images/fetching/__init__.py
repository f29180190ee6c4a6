"""Fetches images over HTTP, within rate limits and by the rules of robots.txt."""
