"""Draws are pure functions of their four numbers, uniform, and independent of each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyjepa.randomness import bits, derive_seed, permutation, uniform

seeds = st.integers(0, 2**40)


@given(
    seeds, st.integers(0, 10**9), st.lists(st.integers(0, 10**9), min_size=1, max_size=8), st.integers(1, 9)
)
def test_a_row_depends_on_its_own_index_alone(seed, step, index, n):
    together = bits(seed, "p", step, index, n)
    alone = np.concatenate([bits(seed, "p", step, i, n) for i in index])
    assert (together == alone).all()


@given(seeds, st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20))
def test_more_draws_do_not_change_the_first_ones(seed, step, n, more):
    assert (bits(seed, "p", step, 3, n)[0] == bits(seed, "p", step, 3, n + more)[0, :n]).all()


@pytest.mark.parametrize("change", [dict(seed=1), dict(purpose="q"), dict(step=1), dict(index=1)])
def test_each_of_the_four_numbers_changes_the_draw(change):
    base = dict(seed=0, purpose="p", step=0, index=0)
    a, b = bits(**base, n=4), bits(**(base | change), n=4)
    assert not (a == b).any()
    assert derive_seed(**base) != derive_seed(**(base | change))


def test_uniform_over_samples_steps_and_draws():
    for name, u in (
        ("samples", uniform(0, "p", 0, np.arange(20_000), 1)),
        ("draws", uniform(0, "p", 0, 0, 20_000)),
        ("steps", np.concatenate([uniform(0, "p", s, 0, 1) for s in range(5_000)])),
    ):
        u = u.ravel()
        assert u.min() >= 0.0 and u.max() < 1.0, name
        counts, _ = np.histogram(u, bins=20, range=(0, 1))
        expected = len(u) / 20
        # chi-square with 19 degrees of freedom: 43.8 is the 0.999 quantile
        assert ((counts - expected) ** 2 / expected).sum() < 43.8, name
        assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4 / np.sqrt(len(u)), name


def test_permutation_is_one_and_changes_with_the_epoch():
    a, b = permutation(0, "order", 0, 1000), permutation(0, "order", 1, 1000)
    assert sorted(a) == list(range(1000))
    assert (a != b).any()
    assert (a == permutation(0, "order", 0, 1000)).all()


def test_known_values_do_not_change_between_releases():
    # A resumed run must draw what the run drew that wrote the checkpoint.
    assert derive_seed(0, "data/order", 0) == 6553217272174535386
    assert bits(7, "mask/target", 3, [11], 2).tolist() == [[3391298204174625492, 2581837493509190100]]
