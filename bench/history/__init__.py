"""Runs in the order of time: which there are, what each measured, and where a cell's level changed."""
