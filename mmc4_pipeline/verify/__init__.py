"""Checks a finished dataset against its manifest, its ledger and MMC4's published schema."""
