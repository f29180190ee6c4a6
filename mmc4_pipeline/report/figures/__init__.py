"""Computes the report's figures, as places in percent of the plotting area; the template only draws them."""
