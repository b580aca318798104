"""One HTML page about a run: what the doctor says, curves, masks, features, prediction errors, neighbours, scores, settings."""

from anyjepa.report.build import write_report

__all__ = ["write_report"]
