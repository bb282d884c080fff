"""Which optimisations pay: the steps of a ladder, and the search for the best backend. Pure; no torch."""
