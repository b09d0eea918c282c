"""Bayes' rule over class-conditional densities: decisions, calibration, and knowing when to abstain."""
