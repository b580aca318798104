"""Evaluation: what frozen representations are worth, next to the raw input and to an untrained encoder."""

from anyjepa.evaluation.features import Features, Reader, encoder_reader, extract, pixel_reader
from anyjepa.evaluation.knn import knn_accuracy, knn_predict
from anyjepa.evaluation.linear import LinearProbe, fit_linear
from anyjepa.evaluation.probe import probe
from anyjepa.evaluation.result import ProbeResult, Row

__all__ = [
    "Features",
    "LinearProbe",
    "ProbeResult",
    "Reader",
    "Row",
    "encoder_reader",
    "extract",
    "fit_linear",
    "knn_accuracy",
    "knn_predict",
    "pixel_reader",
    "probe",
]
