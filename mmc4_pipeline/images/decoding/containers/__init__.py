"""Takes image files apart: the picture goes to the decoders, metadata is read within bounds or left out."""
