"""Serving: Label Studio's requests in, brush regions out."""
