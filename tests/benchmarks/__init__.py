"""BasicVSR and its stages for users of pytest-benchmark (docs/pytest_benchmark.md)."""
