"""Statistics for people: what became of everything, histograms, and a page that shows them with sample documents."""
