"""vsr-bench: measures video super-resolution where it will run."""

__version__ = "0.1.0"
