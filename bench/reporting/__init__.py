"""Tables to a page."""
