"""For tools that need a setup.py, such as Beam's --setup_file; pyproject.toml declares everything."""

from setuptools import setup

setup()
