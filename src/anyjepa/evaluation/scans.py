"""What brain scans say about the people in them: age, sex, diagnosis, from frozen features, with no subject on both sides.

This page only gathers what lies in four others: ``scan_folds``, ``scan_features``, ``scan_probes`` and ``scan_scores``.
"""

from anyjepa.evaluation.scan_features import POOLINGS, connectivity_features, embed_scans
from anyjepa.evaluation.scan_folds import check_disjoint, site_folds, subject_folds
from anyjepa.evaluation.scan_intervals import Interval, interval
from anyjepa.evaluation.scan_probes import predict_class, predict_number
from anyjepa.evaluation.scan_scores import Scores, class_scores, number_scores

__all__ = [
    "POOLINGS",
    "Interval",
    "Scores",
    "check_disjoint",
    "class_scores",
    "connectivity_features",
    "embed_scans",
    "interval",
    "number_scores",
    "predict_class",
    "predict_number",
    "site_folds",
    "subject_folds",
]
