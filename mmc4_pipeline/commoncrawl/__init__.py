"""Read Common Crawl's formats: the columnar index, WARC and WAT files."""
