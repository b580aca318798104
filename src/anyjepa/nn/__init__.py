"""Blocks shared by methods: attention, transformer, predictor, positions."""
