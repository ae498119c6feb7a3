"""Serving: Label Studio's requests in, brush regions out."""

__version__ = "1.0.0"
