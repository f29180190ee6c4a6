"""What the flex template's launcher starts."""

from beam_jobs.template import launch

launch()
