"""Measurements that a report shows; each file is one, started with ``python -m benchmarks.NAME``."""
