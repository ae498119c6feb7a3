"""Image embeddings: each is computed once, kept in tiers, and used for masks."""
