"""Evaluation: what frozen representations are worth, next to the raw input and to an untrained encoder."""

from anyjepa.evaluation.attentive import AttentiveConfig, AttentiveProbe, fit_attentive
from anyjepa.evaluation.budgets import Budget
from anyjepa.evaluation.features import Features, Reader, encoder_reader, extract
from anyjepa.evaluation.finetune import FinetuneConfig, FinetunedProbe, fit_finetune
from anyjepa.evaluation.knn import knn_accuracy, knn_predict, knn_regress
from anyjepa.evaluation.linear import LinearProbe, fit_linear
from anyjepa.evaluation.probe import probe
from anyjepa.evaluation.result import ProbeResult
from anyjepa.evaluation.ridge import RidgeProbe, fit_ridge
from anyjepa.evaluation.scores import Comparison, Row, Score
from anyjepa.evaluation.tokens import TokenBudget, TokenStore

__all__ = [
    "AttentiveConfig",
    "AttentiveProbe",
    "Budget",
    "Comparison",
    "Features",
    "FinetuneConfig",
    "FinetunedProbe",
    "LinearProbe",
    "ProbeResult",
    "Reader",
    "RidgeProbe",
    "Row",
    "Score",
    "TokenBudget",
    "TokenStore",
    "encoder_reader",
    "extract",
    "fit_attentive",
    "fit_finetune",
    "fit_linear",
    "fit_ridge",
    "knn_accuracy",
    "knn_predict",
    "knn_regress",
    "probe",
]
