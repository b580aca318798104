"""Scores of classifiers of recordings."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.errors import ConfigError
from anyjepa.evaluation.recordings import average_logits, macro_auc


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 30))
def test_auc_is_the_share_of_pairs_in_the_right_order(seed, n):
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 5, size=(n, 3)).astype(float)
    labels = draw.random((n, 3)) < 0.5
    labels[:2, :2] = [[True, False], [False, True]]
    labels[:, 2] = False
    result = macro_auc(scores, labels)
    for k in range(2):
        up, down = scores[labels[:, k], k][:, None], scores[~labels[:, k], k][None]
        assert result.per_class[k] == pytest.approx(((up > down) + 0.5 * (up == down)).mean())
    assert np.isnan(result.per_class[2]) and result.left_out == (2,)
    assert result.mean == pytest.approx(np.mean(result.per_class[:2]))


def test_scores_that_say_nothing_are_refused():
    with pytest.raises(ConfigError, match="none of the 2 classes"):
        macro_auc(np.zeros((3, 2)), np.ones((3, 2), dtype=bool))
    with pytest.raises(ConfigError, match="finite"):
        macro_auc(np.full((2, 1), np.nan), np.array([[True], [False]]))


def test_logits_are_averaged_over_seven_crops():
    seen = []

    def classify(crops):
        seen.append(tuple(crops.shape))
        return crops[:, 0, :1]

    x = torch.arange(5000.0).repeat(3, 2, 1)
    logits = average_logits(classify, x, batch_size=8)
    assert seen == [(8, 2, 1250), (8, 2, 1250), (5, 2, 1250)]
    assert logits.tolist() == [[np.mean(range(0, 3751, 625))]] * 3
    slow = average_logits(classify, x[:, :, :1000], rate=100)
    assert slow.tolist() == [[np.mean(range(0, 751, 125))]] * 3
