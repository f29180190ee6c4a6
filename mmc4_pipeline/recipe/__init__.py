"""Recipes: all thresholds and settings that define a dataset.

`records.py` has their types, `reading.py` reads them from YAML, and `comparing.py` finds what a later recipe must
not change.
"""

from mmc4_pipeline.recipe.comparing import loosened
from mmc4_pipeline.recipe.reading import load_recipe, parse_recipe, recipe_names
from mmc4_pipeline.recipe.records import (
    FaceDetectorSettings,
    FaceHeadSettings,
    ImageSettings,
    LinkSettings,
    LocateSettings,
    Recipe,
)

__all__ = [
    "FaceDetectorSettings",
    "FaceHeadSettings",
    "ImageSettings",
    "LinkSettings",
    "LocateSettings",
    "Recipe",
    "load_recipe",
    "loosened",
    "parse_recipe",
    "recipe_names",
]
