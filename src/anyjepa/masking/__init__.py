"""Layout to masks: pure functions that always terminate."""
