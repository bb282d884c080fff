"""Two runs to verdicts: what of the new one is slower, larger or worse. No torch, no plotting, no files."""
