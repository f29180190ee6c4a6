"""A small generated web whose truth is known: pages about coloured shapes, for the demo and the tests."""
