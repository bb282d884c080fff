"""Another name of `significant`, while comparisons use it."""

from bench.units import significant as legible

__all__ = ["legible"]
