"""The dataset that trainers read: built from a miniature web."""

from tests.end_to_end.conftest import built, web

__all__ = ["built", "web"]
