"""Policies in simulators: what they reach, in numbers and in pictures."""
