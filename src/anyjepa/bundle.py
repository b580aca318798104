"""Samples of more than one part: pictures and the actions between them, a camera and the joints of a robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.errors import DataError


class Bundle(Mapping[str, Tensor]):
    """Tensors by name that speak of the same B samples in the same order.

    ``bundle["action"]`` is a part; ``bundle[rows]``, with a slice, list or tensor of positions, is a bundle of those samples.

    Args:
        parts: (B, ...) each.

    Raises:
        DataError: there are no parts, or they are not of the same number of samples.
    """

    def __init__(self, parts: Mapping[str, Tensor]) -> None:
        sizes = {name: len(part) for name, part in parts.items()}
        if len(set(sizes.values())) != 1:
            raise DataError(f"the parts of a batch must be of the same number of samples, got {sizes}")
        self._parts = dict(parts)

    @overload
    def __getitem__(self, which: str) -> Tensor: ...
    @overload
    def __getitem__(self, which: slice | Sequence[int] | Any) -> Any: ...
    def __getitem__(self, which: Any) -> Any:
        return self._parts[which] if isinstance(which, str) else self._each(lambda part: part[which])

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        """Number of parts, as for every mapping; the number of samples is :attr:`samples`."""
        return len(self._parts)

    @property
    def samples(self) -> int:
        """Number of samples B."""
        return len(next(iter(self._parts.values())))

    @property
    def nbytes(self) -> int:
        """Memory of all parts."""
        return sum(part.nbytes for part in self._parts.values())

    def to(self, *args: Any, **kwargs: Any) -> Bundle:
        """The same on another device; the types of numbers stay."""
        return self._each(lambda part: part.to(*args, **kwargs))

    def pin_memory(self) -> Bundle:
        """The same in memory from which a GPU fetches fastest."""
        return self._each(lambda part: part.pin_memory())

    def split(self, size: int) -> list[Bundle]:
        """Bundles of ``size`` samples, the last of what is left."""
        return [self[start : start + size] for start in range(0, self.samples, size)]

    def clone(self) -> Bundle:
        """A copy that shares no memory."""
        return self._each(torch.clone)

    def __repr__(self) -> str:
        return f"Bundle({', '.join(f'{name}: {tuple(part.shape)}' for name, part in self._parts.items())})"

    def _each(self, change: Callable[[Tensor], Tensor]) -> Bundle:
        return Bundle({name: change(part) for name, part in self._parts.items()})


if TYPE_CHECKING:
    # Nearly all methods take a plain tensor and say so in their own signatures.
    Inputs = Any
    Shape = Any
else:
    Inputs = Float[Tensor, "B *sample"] | Bundle
    Shape = tuple[int, ...] | dict[str, tuple[int, ...]]
"""``Inputs``: what a method takes, (B, C, ...) floats or a bundle. ``Shape``: that of one sample, or of each of its parts."""


def samples_in(inputs: Inputs) -> int:
    """Number of samples B."""
    return inputs.samples if isinstance(inputs, Bundle) else len(inputs)


def join(pieces: Sequence[Inputs]) -> Inputs:
    """Batches one after the other as one.

    Raises:
        DataError: they have different parts.
    """
    if len(pieces) == 1 or not isinstance(pieces[0], Bundle):
        return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces))
    names = list(pieces[0])
    if any(list(piece) != names for piece in pieces):
        raise DataError(f"batches of different parts cannot be joined: {[list(piece) for piece in pieces]}")
    return Bundle({name: torch.cat([piece[name] for piece in pieces]) for name in names})


def blank(shape: Shape, samples: int = 1) -> Inputs:
    """Samples of a shape that hold nothing but zeros."""
    if isinstance(shape, tuple):
        return torch.zeros(samples, *shape)
    return Bundle({name: torch.zeros(samples, *part) for name, part in shape.items()})


def described(shape: Shape) -> str:
    """A shape in words: ``"3 x 32 x 32"``, or ``"image 3 x 96 x 96, state 2"``."""
    if isinstance(shape, tuple):
        return " x ".join(map(str, shape))
    return ", ".join(f"{name} {described(part)}" for name, part in shape.items())
