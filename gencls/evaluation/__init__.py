"""Whole runs: train on a data set, score held-out texts, fit the rivals, write the report.

This room puts the others together for the command line and the benchmarks; it has no method of its own.
"""
