"""Functional gradients: coordinates of brain regions such that regions of like connectivity lie near each other.

The diffusion map of group connectivity (Coifman and Lafon 2006; Margulies et al. 2016), as Brain-JEPA uses it (arXiv 2409.19407,
section 3.1), for any parcellation: the regions have the order of the scans, cortical and subcortical ones alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from anyjepa.errors import ConfigError, DataError

LARGEST_EIGENVALUE = 1.0 - 1e-8
"""A second eigenvalue above this is 1: the regions fall into groups without any link."""


def connectivity(scan: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R R"]:
    """Pearson correlation of every two regions; NaN for regions that do not vary or hold a NaN."""
    x = scan - scan.mean(axis=1, keepdims=True, dtype=np.float64)
    norm = np.sqrt((x**2).sum(axis=1))
    norm[~(norm > 1e-6 * np.abs(scan).max(axis=1) * np.sqrt(scan.shape[1]))] = np.nan
    x = x / norm[:, None]
    return np.clip(x @ x.T, -1.0, 1.0)


def group_connectivity(
    scans: Iterable[Float[np.ndarray, "R _"]], *, fisher: bool = True
) -> Float[np.ndarray, "R R"]:
    """Mean correlation of every two regions over scans, of those in which both vary.

    Args:
        scans: series of the same R regions, of any length; those of the training subjects alone.
        fisher: average z = artanh r and take the tanh of the mean (the paper does not say); else average r.

    Raises:
        DataError: no scan, scans of different regions, or a pair of regions that varies together in no scan.
    """
    total = count = np.zeros(())
    for scan in scans:
        r = connectivity(scan)
        if total.ndim and r.shape != total.shape:
            raise DataError(f"a scan has {len(r)} regions, the scans before it {len(total)}")
        # Of r = 1, which only a region with itself or with its copy has, artanh is infinite.
        z = np.arctanh(np.clip(r, -1 + 1e-7, 1 - 1e-7)) if fisher else r
        total, count = total + np.nan_to_num(z), count + np.isfinite(z)
    if not total.ndim:
        raise DataError("connectivity needs at least one scan")
    if not (count > 0).all():
        dead = np.flatnonzero(np.diagonal(count) == 0)
        raise DataError(
            f"regions {_some(dead)} are flat or missing in every scan (numbers from 0): take them out of the parcellation"
            if len(dead)
            else f"regions {_some(np.argwhere(count == 0)[0])} never vary in the same scan: leave one of them out"
        )
    mean = np.tanh(total / count) if fisher else total / count
    np.fill_diagonal(mean, 1.0)
    return mean


def affinity(group: Float[np.ndarray, "R R"], *, sparsity: float = 0.0) -> Float[np.ndarray, "R R"]:
    """Likeness 0..1 of every two rows of a connectivity matrix: 1 - angle / pi.

    Args:
        group: connectivity.
        sparsity: share of the smallest entries of each row set to zero first. 0.9 is the default of the toolbox that the authors
            name; the paper does not mention it, and the published table does not decide it.
    """
    if not 0 <= sparsity < 1:
        raise ConfigError(f"sparsity must be at least 0 and below 1, got {sparsity}")
    rows = group.astype(np.float64)
    if sparsity:
        # Rounded down, as in the toolbox.
        kept = max(1, int(len(rows) * (1 - sparsity)))
        least = np.partition(rows, -kept, axis=1)[:, [-kept]]
        rows = np.where(rows < least, 0.0, rows)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=np.finfo(float).tiny)
    angle = np.arccos(np.clip(rows @ rows.T, -1.0, 1.0))
    np.fill_diagonal(angle, 0.0)
    return 1.0 - angle / np.pi


def diffusion_map(
    likeness: Float[np.ndarray, "R R"], dims: int = 30, *, alpha: float = 0.5
) -> tuple[Float[np.ndarray, "R m"], Float[np.ndarray, "m"]]:
    """The diffusion map of all scales, and its eigenvalues.

    With d the row sums of A, W = d^-alpha A d^-alpha is divided by its row sums D to a random walk. Its right eigenvectors psi_k,
    of which the first is constant and left out, are scaled such that psi^T D psi is that of the constant 1, and multiplied by
    lambda_k / (1 - lambda_k): the sum over all diffusion times. Columns come in falling order of lambda; in each, the entry of
    largest magnitude is positive. The eigenproblem is solved in its symmetric form D^-1/2 W D^-1/2.

    Args:
        likeness: symmetric, not negative.
        dims: columns m.
        alpha: 0: density counts fully; 1: not at all (0.5 in the paper, which prints the exponent as -1/0.5 by mistake).

    Raises:
        ConfigError: more columns than regions less one.
        DataError: regions without a link to others, or groups of regions without a link.
    """
    n = len(likeness)
    if not 1 <= dims < n:
        raise ConfigError(f"{n} regions have 1 to {n - 1} gradients, got dims={dims}")
    if not np.isfinite(likeness).all() or likeness.min() < 0 or not np.allclose(likeness, likeness.T):
        raise DataError("a diffusion map needs a symmetric likeness without negative or missing values")
    degree = likeness.sum(axis=1)
    if not (degree > 0).all():
        raise DataError(f"regions {_some(np.flatnonzero(degree <= 0))} have no link to any other")
    scale = degree**-alpha
    w = scale[:, None] * likeness * scale
    d = w.sum(axis=1)
    root = np.sqrt(d)
    values, vectors = np.linalg.eigh(w / root[:, None] / root)
    # eigh gives ascending order; the last is the constant one.
    values, vectors = values[::-1][1 : dims + 1], vectors[:, ::-1][:, 1 : dims + 1]
    if values[0] > LARGEST_EIGENVALUE:
        raise DataError(
            "the regions fall into groups without any link between them, so that no gradient joins them: use a smaller sparsity"
        )
    psi = vectors / root[:, None] * np.sqrt(d.sum())
    table = psi * (values / (1.0 - values))
    largest = np.abs(table).argmax(axis=0)
    return table * np.where(table[largest, np.arange(dims)] < 0, -1.0, 1.0), values


def diffusion_gradients(
    group: Float[np.ndarray, "R R"], dims: int = 30, *, sparsity: float = 0.0, alpha: float = 0.5
) -> Float[np.ndarray, "R m"]:
    """Gradients of regions from their group connectivity; see :func:`affinity` and :func:`diffusion_map`."""
    return diffusion_map(affinity(group, sparsity=sparsity), dims, alpha=alpha)[0]


def as_rows(table: Float[np.ndarray, "R m"]) -> tuple[tuple[float, ...], ...]:
    """A table as the field ``gradients`` of a config, to seven digits."""
    return tuple(tuple(float(f"{value:.7g}") for value in row) for row in table)


def write_gradients(path: str | Path, table: Float[np.ndarray, "R m"]) -> None:
    """Writes a CSV without header, one row per region; whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.partial")
    try:
        part.write_text("".join(",".join(map(repr, row)) + "\n" for row in as_rows(table)))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def read_gradients(path: str | Path, rois: int | None = None) -> Float[np.ndarray, "R m"]:
    """The table of a CSV without header or of a .npy file, one row per region in the order of the scans.

    Args:
        path: the file.
        rois: regions of the scans; None: not checked.

    Raises:
        DataError: the file cannot be read, or is the table of other regions.
    """
    path = Path(path)
    try:
        binary = path.suffix.lower() == ".npy"
        table = np.load(path, allow_pickle=False) if binary else np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read gradients from {path}: {error}") from error
    if table.ndim != 2 or table.dtype.kind not in "fiu" or not np.isfinite(table).all() or not table.size:
        raise DataError(
            f"{path} must be a table of finite numbers, one row per region, got shape {table.shape}"
        )
    if rois is not None and len(table) != rois:
        raise DataError(f"{path} has {len(table)} rows, the scans have {rois} regions")
    return table.astype(np.float64)


def _some(numbers: np.ndarray) -> str:
    return ", ".join(map(str, numbers[:5].tolist())) + (", ..." if len(numbers) > 5 else "")
