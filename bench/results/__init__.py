"""A run's folder, and its tables from its journal."""
