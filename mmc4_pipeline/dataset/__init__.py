"""Datasets on disk: manifests, ledgers, published formats."""
