"""Scripts that put the harness itself to the test; README.md lists them. Not part of the package."""
