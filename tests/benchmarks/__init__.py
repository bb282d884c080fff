"""BasicVSR and its stages for users of pytest-benchmark (docs/compare.md)."""
