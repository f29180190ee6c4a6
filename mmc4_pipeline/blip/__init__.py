"""BLIP and BLIP-2: models of transformers that read an image and its text together, or write a text about it."""
