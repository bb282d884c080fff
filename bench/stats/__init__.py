"""Medians, intervals, stopping rules, patterns in samples. Pure."""
