"""What a kind of data is: all that training, evaluation, embedding and the command line know about images, ECG, or scans."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Inputs, Shape
from anyjepa.config import to_dict
from anyjepa.contract import Method
from anyjepa.data.base import Source
from anyjepa.data.broken import Broken
from anyjepa.data.dataset import Dataset
from anyjepa.data.raw import MOST, averages
from anyjepa.errors import ConfigError, DataError

Progress = Callable[[int, int], None]


@runtime_checkable
class Report(Protocol):
    """What was found in some data. ``str()`` of it is for people."""

    @property
    def looked_at(self) -> int:
        """Samples that were read for it."""
        ...

    @property
    def broken(self) -> Sequence[Broken]:
        """Those of them that cannot be read."""
        ...


class Modality(ABC):
    """One kind of data. A new kind is a subclass with a place in :data:`~anyjepa.data.modalities.MODALITIES`.

    A *config* is always an object of the class ``config``: the options of a run by which its data are read, under the key
    ``name`` in config.yaml and as ``--NAME.OPTION`` on the command line. It has the field ``max_broken``.
    """

    name: ClassVar[str]
    """As methods are registered for it."""
    noun: ClassVar[str]
    """What the samples are, in the plural."""
    config: ClassVar[type]
    """Frozen dataclass of the options."""
    opens: ClassVar[str]
    """What :meth:`open` takes, in words."""
    endings: ClassVar[frozenset[str]] = frozenset()
    """Endings of files that hold this kind of data and no other, for :func:`~anyjepa.data.modalities.recognise`."""
    axes: ClassVar[str]
    """What the axes of a sample are, in words: ``"channels, height, width"``."""
    binding: ClassVar[tuple[str, ...]] = ()
    """Options that a run which starts from weights must read its data by as these did."""
    inherited: ClassVar[tuple[str, ...]] = ()
    """Options that such a run takes over unless something else is chosen: constants of normalisation."""
    unlearned: ClassVar[str] = (
        f"the values the encoder sees, averaged over areas down to at most {MOST} values"
    )
    """What :meth:`raw` gives, in words."""

    def claims(self, place: Path) -> bool:
        """Whether a place is laid out as only this kind of data is, whatever files lie there."""
        return False

    def holds(self, file: Path) -> bool:
        """Whether a file whose ending tells nothing holds this kind of data, by a look into it."""
        return False

    @abstractmethod
    def open(
        self, path: str | Path, config: Any, *, labels: bool = False, progress: Progress | None = None
    ) -> Source:
        """The samples behind a path; with ``labels`` these must exist.

        Raises:
            DataError: nothing is there, or it cannot be read.
            MissingExtraError: the reader is not installed.
        """

    def given(self, x: Any, config: Any, shape: Shape | None = None) -> Source:
        """Whatever a Python caller hands over as samples: a source, or a path; arrays where it is overridden.

        Args:
            x: what was handed over.
            config: how it is read.
            shape: samples a trained method expects; None: nothing is trained yet.

        Raises:
            DataError: it holds no samples of this kind.
        """
        if isinstance(x, Source):
            return x
        if isinstance(x, str | Path):
            return self.open(x, config)
        raise DataError(f"X must be a path to {self.noun} ({self.opens}), got {type(x).__name__}")

    @abstractmethod
    def inspect(self, source: Source, config: Any) -> Report:
        """A look at the data before training: broken ones, sizes, what was done about what is missing.

        Raises:
            DataError: none of the samples can be read.
        """

    @abstractmethod
    def shape(self, source: Source, config: Any, report: Any) -> Shape:
        """(C, ...) of the samples a new method should be made for, or that of each part."""

    @abstractmethod
    def suit(self, config: Any, shape: Any) -> Any:
        """The config with which samples have the shape a method expects.

        Raises:
            ConfigError: another shape was chosen, or the method is for other data.
        """

    @abstractmethod
    def dataset(self, source: Source, config: Any) -> Dataset:
        """Batches of the samples; of ``config`` what :meth:`suit` gave."""

    def settle(self, source: Source, config: Any) -> tuple[Source, Any]:
        """Take from the training data what the config leaves to them and later data must be read with too: constants of
        normalisation. Nothing unless overridden."""
        return source, config

    def place(self, model: Any, source: Source, config: Any) -> Any:
        """The config of a method with what the data say beside their shape: places of electrodes, gradients of regions. Nothing
        unless overridden."""
        return model

    def continued(self, config: Any, theirs: Any) -> Any:
        """The config of a run that starts from weights: read as these are used to, unless something else was chosen.

        A field at its default counts as not chosen.

        Args:
            config: of the new run.
            theirs: of the weights.

        Raises:
            ConfigError: a field of ``binding`` was chosen otherwise.
        """
        usual = self.config()
        for name in (*self.binding, *self.inherited):
            mine, trained, default = (getattr(each, name) for each in (config, theirs, usual))
            if name in self.binding and mine not in (default, trained):
                raise ConfigError(
                    f"the weights are for {self.name}.{name}={_shown(trained)}: leave {self.name}.{name} out"
                )
            if mine == default:
                config = replace(config, **{name: trained})
        return config

    def meets(self, source: Source, shape: Any) -> None:
        """Refuse data that weights for samples of ``shape`` cannot go on with.

        Raises:
            ConfigError: the samples have other channels.
        """
        if source.channels != shape[0]:
            raise ConfigError(
                f"the weights take {shape[0]} channels ({self.axes}), the data have {source.channels}: choose as many of them, "
                f"for images with images.channels={shape[0]}"
            )

    def adapt(self, method: Method, source: Source) -> Method:
        """A trained method for other data, e.g. other channels. The same unless overridden.

        Raises:
            DataError: it cannot be used with them.
        """
        return method

    def seen(self, config: Any) -> Any:
        """What of a config decides how a sample is seen by evaluation: runs that agree in it are read once. All, unless
        overridden."""
        return config

    def published(self, config: Any) -> dict[str, Any]:
        """What of a config goes into an export, as plain values: no paths, nothing of persons. All, unless overridden."""
        return to_dict(config)

    def raw(self, method: Method) -> Callable[[Inputs], Float[Tensor, "B F"]]:
        """The features without any learning that a trained encoder is compared with: its samples (B, C, ...) to vectors. Averages
        of the values, unless overridden by what the field uses."""
        return averages(method.input_shape())


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
