"""Read published interleaved datasets: documents with their texts, image URLs, order and assignments.

Each layout has a module of its own; `files.py` recognises the layout of a file by its fields.
"""
