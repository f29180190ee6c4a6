"""Estimates what a run will take, before it starts: bytes, requests, core hours and money."""
