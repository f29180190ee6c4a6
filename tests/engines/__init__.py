"""Beam's other engines on one machine, for tests and for `make flink-demo`: Prism, and a Flink cluster."""
