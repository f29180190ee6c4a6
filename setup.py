"""For tools that want a setup.py (Beam's --setup_file among them); everything is said in pyproject.toml."""

from setuptools import setup

setup()
