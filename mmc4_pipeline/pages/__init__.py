"""Turn a crawled page and its C4 text into image links and sentences."""
