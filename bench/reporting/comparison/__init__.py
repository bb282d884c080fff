"""Comparisons as people and programs read them: a page, HTML, JSON, JUnit, a terminal. Pure."""
