"""Trained policies: what to do next, from what is seen now."""
