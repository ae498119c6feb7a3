"""Trains the built-in checkpoint: procedural scenes, prompts, the training loop, its scores."""
