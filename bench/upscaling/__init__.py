"""Upscaling of files: decoded once, computed frame by frame in bounded memory, encoded meanwhile."""
