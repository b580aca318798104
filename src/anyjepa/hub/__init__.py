"""Weights in and out: official checkpoints and the Hugging Face layout, both by name maps."""
