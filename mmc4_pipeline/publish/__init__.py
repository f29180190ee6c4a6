"""What goes beside a dataset where it is published: its card and its Croissant metadata."""
