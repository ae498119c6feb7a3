"""Masks that nobody has clicked for: predictions of whole tasks, and how they are written."""
