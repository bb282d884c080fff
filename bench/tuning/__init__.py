"""The steps of a ladder of optimisations, and the search for the best backend. Pure; no torch."""
