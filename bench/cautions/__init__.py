"""Warnings with their remedies, from records. Pure."""
