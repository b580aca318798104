"""Images of objects whose poses are known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from anyjepa.data.base import Source
from anyjepa.data.rotations import between, turn
from anyjepa.errors import DataError

Form = Literal["angle", "quaternion"]
SECTOR = 45
"""Degrees of the sectors that are held out together."""


class PoseSource(Source):
    """Images of another source, with the object and the pose of each.

    A pose is an angle in radians (1 number) or a quaternion (4), and further values after it.

    Args:
        images: the images.
        objects: (N,) what object each is of, as a number.
        names: their names, by number.
        poses: (n,) rows to (n, P) poses; reads them, or looks them up.
        form: what the first numbers of a pose are.
        values: further numbers of a pose.
        hold_out: what the groups of the source are: ``"object"``, sectors of ``"angle"``, or ``"auto"``: objects, unless each is
            a class of its own.
    """

    def __init__(
        self,
        images: Source,
        objects: Int[np.ndarray, "N"],
        names: tuple[str, ...],
        poses: Callable[[np.ndarray], Float[np.ndarray, "n P"]],
        form: Form,
        values: int = 0,
        hold_out: str = "auto",
    ) -> None:
        if len(objects) != len(images):
            raise DataError(f"{len(images)} images have poses of {len(objects)}: there must be one for each")
        self.images, self.objects, self.object_names = images, np.asarray(objects, dtype=np.int64), names
        self._poses, self.form, self.values = poses, form, values
        self.channels, self.labels, self.class_names = images.channels, images.labels, images.class_names
        self.members = _members(self.objects, len(names))
        self.groups, self.group_names = self._groups(hold_out)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, i: int) -> Any:
        return self.images.read(i)

    def identity(self, i: int) -> str:
        return self.images.identity(i)

    def poses(self, rows: Int[np.ndarray, "*n"]) -> Float[np.ndarray, "*n P"]:
        """Poses of some rows.

        Raises:
            DataError: one is not finite, or cannot be read.
        """
        flat = np.asarray(rows).reshape(-1)
        found = np.asarray(self._poses(flat), dtype=np.float64)
        wrong = ~np.isfinite(found).all(axis=1)
        if wrong.any():
            raise DataError(
                f"the pose of {self.identity(int(flat[wrong.argmax()]))} is not finite: {found[wrong.argmax()]}"
            )
        if self.form == "quaternion":
            length = np.linalg.norm(found[:, :4], axis=1)
            if length.min() < 1e-6:
                raise DataError(f"the quaternion of {self.identity(int(flat[length.argmin()]))} has length 0")
            found[:, :4] /= length[:, None]
        return found.reshape(*np.shape(rows), -1)

    def take(self, rows: Int[np.ndarray, "n"]) -> PoseSource:
        """Some of the samples as a source of their own; objects without any are left out."""
        kept, objects = np.unique(self.objects[rows], return_inverse=True)
        found = PoseSource(
            _Some(self.images, rows),
            objects,
            tuple(self.object_names[i] for i in kept.tolist()),
            partial(_of_rows, self._poses, rows),
            self.form,
            self.values,
            "object",
        )
        # What is held out is decided by the whole.
        assert self.groups is not None
        found.groups, found.group_names = self.groups[rows], self.group_names
        return found

    def relate(
        self, before: Float[np.ndarray, "*n P"], after: Float[np.ndarray, "*n P"]
    ) -> Float[np.ndarray, "*n A"]:
        """The relative transformation: a quaternion, or cosine and sine, and differences of the further values."""
        first = 4 if self.form == "quaternion" else 1
        rotation = between if self.form == "quaternion" else turn
        return np.concatenate(
            [rotation(before[..., :first], after[..., :first]), after[..., first:] - before[..., first:]],
            axis=-1,
        )

    @property
    def origin(self) -> Float[np.ndarray, "P"]:
        """The pose of no rotation, with further values of 0."""
        return np.array([*((0.0, 0, 0, 1) if self.form == "quaternion" else (0.0,)), *[0.0] * self.values])

    @property
    def fewest(self) -> tuple[str, int]:
        """The object with the fewest views, and how many these are."""
        counts = np.bincount(self.objects, minlength=len(self.object_names))
        return self.object_names[int(counts.argmin())], int(counts.min())

    def _groups(self, hold_out: str) -> tuple[np.ndarray, tuple[str, ...]]:
        own_class = self.labels is not None and len(np.unique(self.labels)) == len(self.object_names)
        if hold_out == "object" or self.form != "angle" or (hold_out == "auto" and not own_class):
            return self.objects, self.object_names
        degrees = np.rad2deg(self.poses(np.arange(len(self)))[:, 0]) % 360
        count = 360 // SECTOR
        sectors = (degrees / SECTOR).astype(np.int64) % count
        return sectors, tuple(f"{SECTOR * i} to {SECTOR * (i + 1)} degrees" for i in range(count))


class _Some(Source):
    """Rows of another source."""

    def __init__(self, source: Source, rows: np.ndarray) -> None:
        self.source, self.rows = source, np.asarray(rows, dtype=np.int64)
        self.channels, self.class_names = source.channels, source.class_names
        self.labels = None if source.labels is None else source.labels[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, i: int) -> Any:
        return self.source.read(int(self.rows[i]))

    def identity(self, i: int) -> str:
        return self.source.identity(int(self.rows[i]))


def _of_rows(poses: Callable[[np.ndarray], np.ndarray], chosen: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return poses(chosen[rows])


def _members(objects: np.ndarray, count: int) -> Int[np.ndarray, "O K"]:
    """(objects, most views) rows of each object, -1 where there are no more."""
    order = np.argsort(objects, kind="stable")
    sizes = np.bincount(objects, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    place = np.arange(len(objects)) - np.repeat(starts, sizes)
    members = np.full((count, int(sizes.max())), -1, dtype=np.int64)
    members[objects[order], place] = order
    return members
