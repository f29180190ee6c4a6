"""CLIP models and the heads on their features."""
