"""From a crawled page and its C4 text to image links and sentences."""
