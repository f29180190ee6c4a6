"""Entry point of the flex template's launcher."""

from beam_jobs.template import launch

launch()
