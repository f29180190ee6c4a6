"""The jobs' own options, in Beam's convention: one PipelineOptions class per group, next to the settings it becomes.

Each function that returns settings raises UserError for values that cannot be used, so a job finds them before it runs.
"""
