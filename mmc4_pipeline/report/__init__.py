"""Shows people a dataset or a run: the funnel on a terminal, the report page, and the status of the stages."""
