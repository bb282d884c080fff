"""A run's results as other tools read them. Pure: records in, text out; no torch, no files."""
