"""Image embeddings: made once, kept in tiers, turned into masks."""
