"""Gradients of connectivity: closed forms, invariances, another solver, files."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.data.gradients import (
    affinity,
    as_rows,
    connectivity,
    diffusion_gradients,
    diffusion_map,
    group_connectivity,
    read_gradients,
    write_gradients,
)
from anyjepa.errors import ConfigError, DataError


def scans(n=6, rois=20, frames=60, seed=0):
    """Regions on a line: neighbours share a signal."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        sources = rng.standard_normal((rois + 6, frames))
        kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.5) ** 2)
        yield np.stack([np.convolve(s, kernel, "same") for s in sources.T], axis=1)[3:-3].astype(np.float32)


@pytest.fixture(scope="module")
def group():
    return group_connectivity(scans())


def walk(likeness, alpha):
    d = likeness.sum(1) ** -alpha
    w = d[:, None] * likeness * d
    return w / w.sum(1, keepdims=True), w.sum(1)


def test_connectivity_is_pearson(group):
    (scan,) = scans(1)
    np.testing.assert_allclose(connectivity(scan), np.corrcoef(scan), atol=1e-6)
    assert np.allclose(np.diag(group), 1) and np.allclose(group, group.T)


def test_fisher_mean():
    a, b = scans(2)
    z = (np.arctanh(np.corrcoef(a)[0, 3]) + np.arctanh(np.corrcoef(b)[0, 3])) / 2
    assert group_connectivity([a, b])[0, 3] == pytest.approx(np.tanh(z), abs=1e-6)
    plain = group_connectivity([a, b], fisher=False)[0, 3]
    assert plain == pytest.approx((np.corrcoef(a)[0, 3] + np.corrcoef(b)[0, 3]) / 2, abs=1e-6)


def test_a_region_that_is_flat_in_one_scan_is_taken_from_the_others():
    a, b = scans(2)
    holes = a.copy()
    holes[4] = 7.0
    holes[5, 0] = np.nan
    found = group_connectivity([holes, b])
    assert np.isfinite(found).all()
    assert found[4, 9] == pytest.approx(np.corrcoef(b)[4, 9], abs=1e-5)
    with pytest.raises(DataError, match="regions 4, 5 are flat or missing in every scan"):
        group_connectivity([holes, holes])


def test_another_solver_gives_the_same(group):
    """The non-symmetric walk through a general solver: M psi = lambda psi, columns scaled as the docstring says."""
    likeness = affinity(group)
    table, values = diffusion_map(likeness, 8)
    m, d = walk(likeness, 0.5)
    found, vectors = scipy.linalg.eig(m)
    order = np.argsort(-found.real)[1:9]
    np.testing.assert_allclose(values, found.real[order], atol=1e-9)
    for k, at in enumerate(order):
        psi = vectors[:, at].real
        psi *= np.sqrt(d.sum() / (d * psi**2).sum())
        psi *= np.sign(psi[np.abs(psi).argmax()])
        np.testing.assert_allclose(table[:, k], psi * values[k] / (1 - values[k]), atol=1e-7)


def test_columns_are_orthogonal_to_the_constant_and_to_each_other(group):
    table, values = diffusion_map(affinity(group), 10)
    _, d = walk(affinity(group), 0.5)
    np.testing.assert_allclose(d @ table, 0, atol=1e-8)
    psi = table * (1 - values) / values
    np.testing.assert_allclose(psi.T @ (d[:, None] * psi) / d.sum(), np.eye(10), atol=1e-8)
    assert (np.diff(values) <= 1e-12).all()
    assert (table[np.abs(table).argmax(0), np.arange(10)] > 0).all()


def test_regions_on_a_line_come_out_in_their_order(group):
    first = diffusion_gradients(group, 2)[:, 0]
    order = np.abs(np.corrcoef(first, np.arange(20))[0, 1])
    assert order > 0.95


def test_a_constant_likeness_has_no_gradient():
    table, values = diffusion_map(np.full((9, 9), 0.4), 4)
    np.testing.assert_allclose(values, 0, atol=1e-12)
    np.testing.assert_allclose(table, 0, atol=1e-9)


def test_unconnected_groups_are_refused():
    blocks = np.kron(np.eye(2), np.ones((5, 5)))
    with pytest.raises(DataError, match="groups without any link"):
        diffusion_map(blocks, 3)
    lonely = np.ones((5, 5))
    lonely[2] = lonely[:, 2] = 0
    with pytest.raises(DataError, match="regions 2 have no link"):
        diffusion_map(lonely, 2)


def test_two_weakly_linked_groups_by_hand():
    # Blocks of ones linked by e: the second eigenvalue of the walk is (1 - e) / (1 + e), psi is +-1.
    e, n = 0.1, 4
    likeness = np.kron(np.array([[1, e], [e, 1]]), np.ones((n, n)))
    table, values = diffusion_map(likeness, 1)
    expected = (1 - e) / (1 + e)
    assert values[0] == pytest.approx(expected)
    np.testing.assert_allclose(np.abs(table[:, 0]), expected / (1 - expected))
    assert table[0, 0] == pytest.approx(-table[-1, 0])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(0, 1))
def test_scale_does_not_matter_and_order_follows(seed, c, alpha):
    rng = np.random.default_rng(seed)
    likeness = affinity(group_connectivity(scans(2, rois=12, seed=seed)))
    table, values = diffusion_map(likeness, 4, alpha=alpha)
    np.testing.assert_allclose(diffusion_map(c * likeness, 4, alpha=alpha)[1], values, atol=1e-9)
    np.testing.assert_allclose(diffusion_map(c * likeness, 4, alpha=alpha)[0], table, atol=1e-5)
    order = rng.permutation(12)
    again, _ = diffusion_map(likeness[np.ix_(order, order)], 4, alpha=alpha)
    # A sign can turn where two entries are equally large.
    np.testing.assert_allclose(np.abs(again), np.abs(table[order]), atol=1e-5)


def test_affinity_by_hand():
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(affinity(rows), [[1, 0.5], [0.5, 1]])
    np.testing.assert_allclose(affinity(np.array([[1.0, -1.0], [-1.0, 1.0]])), [[1, 0], [0, 1]], atol=1e-7)


def test_sparsity_keeps_the_largest_of_each_row():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20, 20))
    kept = np.where(rows >= np.sort(rows, axis=1)[:, [-5]], rows, 0)
    np.testing.assert_allclose(affinity(rows, sparsity=0.75), affinity(kept), atol=1e-12)
    with pytest.raises(ConfigError, match="sparsity"):
        affinity(rows, sparsity=1.0)


def test_impossible_tables(group):
    with pytest.raises(ConfigError, match="20 regions have 1 to 19 gradients, got dims=20"):
        diffusion_gradients(group, 20)
    with pytest.raises(DataError, match="symmetric"):
        diffusion_map(np.triu(np.ones((4, 4))), 2)
    with pytest.raises(DataError, match="at least one scan"):
        group_connectivity([])
    with pytest.raises(DataError, match="a scan has 5 regions, the scans before it 4"):
        group_connectivity([np.random.randn(4, 9), np.random.randn(5, 9)])


def test_a_table_survives_its_file(group, tmp_path):
    table = diffusion_gradients(group, 6)
    write_gradients(tmp_path / "g.csv", table)
    assert [f.name for f in tmp_path.iterdir()] == ["g.csv"]
    again = read_gradients(tmp_path / "g.csv", rois=20)
    np.testing.assert_allclose(again, table, rtol=1e-6, atol=1e-12)
    assert as_rows(again) == as_rows(table)
    np.save(tmp_path / "g.npy", table)
    np.testing.assert_array_equal(read_gradients(tmp_path / "g.npy"), table)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(DataError, match="cannot read gradients"):
        read_gradients(tmp_path / "none.csv")
    (tmp_path / "words.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="cannot read gradients"):
        read_gradients(tmp_path / "words.csv")
    (tmp_path / "few.csv").write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match="2 rows, the scans have 450"):
        read_gradients(tmp_path / "few.csv", rois=450)
    with pytest.raises(DataError, match="cannot write"):
        write_gradients(tmp_path / "no" / "where.csv", np.ones((3, 1)))
