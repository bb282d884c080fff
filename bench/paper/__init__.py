"""The course paper's experiments: what a run says of them, and what to think of the paper's claims."""
