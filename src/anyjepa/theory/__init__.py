"""Deep linear networks: which features a JEPA learns first, and which a masked autoencoder (MAE), in closed form.

Littwin, Saremi, Advani, Thilak, Nakkiran, Huang, Susskind: How JEPA Avoids Noisy Features: The Implicit Bias of Deep Linear Self
Distillation Networks, NeurIPS 2024, arXiv 2407.03475.

    L_JEPA = 1/2 E || V W x - stop_gradient(W y) ||^2          L_MAE = 1/2 E || V W x - y ||^2,        W = W_L ... W_1

of pairs (x, y) of two views. In the common eigenbasis of E[x x^T] and E[y x^T] each feature i has two numbers: its covariance
``lam`` between the views, and its regression coefficient ``rho = lam / variance of x_i``. A noisy feature has a large ``lam`` and
a small ``rho``. From a small aligned start both objectives learn one feature after the other: an MAE in the order of
``lam``, a deep JEPA in that of ``rho``.

Time is that of gradient flow with rate 1 on every layer: descent with step h is at time h * steps. The paper's own time is
the depth times this one.
"""

from anyjepa.theory.descent import Descent, aligned_start, conserved, descend, gradients
from anyjepa.theory.families import Pairs, RandomMasking, StaticViews, Temporal
from anyjepa.theory.figures import FIGURES, make_figure
from anyjepa.theory.modes import (
    Objective,
    critical_time,
    first_order_ratio,
    learning_curve,
    plateau,
    predictor_plateau,
    rank_correlation,
    rate,
    series_time,
)
from anyjepa.theory.ode import integrate, quadrature_time

__all__ = [
    "FIGURES",
    "Descent",
    "Objective",
    "Pairs",
    "RandomMasking",
    "StaticViews",
    "Temporal",
    "aligned_start",
    "conserved",
    "critical_time",
    "descend",
    "first_order_ratio",
    "gradients",
    "integrate",
    "learning_curve",
    "make_figure",
    "plateau",
    "predictor_plateau",
    "quadrature_time",
    "rank_correlation",
    "rate",
    "series_time",
]
