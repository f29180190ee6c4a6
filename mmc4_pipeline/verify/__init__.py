"""Checks a finished dataset against its manifest, its ledger and the published schema."""
