"""From image links to measured, stored images."""
