"""Random masks partition the tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyjepa.contract import Layout
from anyjepa.errors import ConfigError
from anyjepa.masking.random import RandomMaskConfig, random_masks


@given(st.integers(2, 300), st.integers(0, 10**6), st.integers(1, 5))
def test_context_and_target_partition_the_tokens(n, step, batch):
    masks = random_masks(RandomMaskConfig(), Layout((n,)), seed=0, step=step, index=np.arange(batch))
    assert masks.targets.shape[1] == 1 and masks.context.shape[1] >= 1
    for context, target in zip(masks.context, masks.targets[:, 0], strict=True):
        assert sorted(context.tolist() + target.tolist()) == list(range(n))


def test_hidden_share_covers_its_range():
    shares = [
        random_masks(RandomMaskConfig(), Layout((14, 14)), seed=0, step=s, index=[0]).targets.shape[2] / 196
        for s in range(300)
    ]
    assert 0.40 <= min(shares) < 0.42 and 0.58 < max(shares) <= 0.61


def test_impossible_ratios_and_layouts_are_refused():
    with pytest.raises(ConfigError):
        RandomMaskConfig(ratio=(0.6, 0.4))
    with pytest.raises(ConfigError):
        random_masks(RandomMaskConfig(), Layout((1,)), seed=0, step=0, index=[0])
