"""Sequences of views as a kind of data: images, and how one leads to the next."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from anyjepa.data.base import Source
from anyjepa.data.image_modality import Images
from anyjepa.data.modality import Progress
from anyjepa.data.pose_files import open_poses
from anyjepa.data.pose_source import PoseSource
from anyjepa.data.report import DataReport
from anyjepa.data.views_config import ViewsConfig
from anyjepa.data.views_dataset import GLIMPSES, ViewsDataset, kind_of
from anyjepa.data.views_makers import Augmented
from anyjepa.errors import DataError


@dataclass(frozen=True)
class ViewsReport(DataReport):
    """What was found in the images, and what sequences are made of them."""

    sequences: str = ""
    """In words."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.sequences}"


class Views(Images):
    """Sequences of views of images or of objects, with the relative transformations between them."""

    name = "views"
    noun = "images"
    config = ViewsConfig
    opens = f"what holds images ({Images.opens}); with poses: .mat, .npz, .csv, .parquet, or folders as 3DIEBench's"
    # .mat files are recordings as often as images.
    endings: ClassVar[frozenset[str]] = frozenset()
    inherited: ClassVar[tuple[str, ...]] = ("mean", "std", "parameter_mean", "parameter_std")

    def open(  # type: ignore[override]
        self, path: str | Path, config: ViewsConfig, *, labels: bool = False, progress: Progress | None = None
    ) -> Source:
        if config.kind in ("auto", "poses"):
            posed = open_poses(path, config, labels)
            if posed is not None:
                return posed if config.limit is None else _some(posed, config.limit)
        return super().open(path, config, labels=labels, progress=progress)

    def inspect(self, source: Source, config: ViewsConfig) -> DataReport:  # type: ignore[override]
        found = super().inspect(source, config)
        return ViewsReport(
            **{field.name: getattr(found, field.name) for field in fields(found)},
            sequences=_told(source, config),
        )

    def settle(self, source: Source, config: ViewsConfig) -> tuple[Source, ViewsConfig]:
        config = replace(config, kind=kind_of(source, config))  # type: ignore[arg-type]
        if config.kind == "poses":
            # Says what is missing before anything is trained.
            _dataset(source, config).maker  # noqa: B018
        if config.kind == "augmentation" and config.scaling == "zscore" and config.parameter_mean is None:
            mean, std = Augmented(_dataset(source, config), config).spread()
            config = replace(config, parameter_mean=mean, parameter_std=std)
        return source, config

    def shape(self, source: Source, config: ViewsConfig, report: Any) -> tuple[int, ...]:  # type: ignore[override]
        if kind_of(source, config) != "saccades" or config.size:
            return super().shape(source, config, report)
        height, width = config.canvas or report.default_size
        return (source.channels, max(1, height // GLIMPSES), max(1, width // GLIMPSES))

    def place(self, model: Any, source: Source, config: ViewsConfig) -> Any:  # type: ignore[override]
        model = super().place(model, source, config)
        if getattr(model, "action_dim", 0) is None:
            return replace(model, action_dim=_dataset(source, config).action_dim)
        return model

    def dataset(self, source: Source, config: ViewsConfig) -> ViewsDataset:  # type: ignore[override]
        return ViewsDataset(source, config)


def _dataset(source: Source, config: ViewsConfig) -> ViewsDataset:
    """For questions that do not depend on the size of a view."""
    return ViewsDataset(source, config if config.size else replace(config, size=32))


def _some(source: PoseSource, limit: int) -> Source:
    raise DataError(
        f"limit={limit} would tear the {len(source.object_names)} objects of {len(source)} views apart: leave it out"
    )


def _told(source: Source, config: ViewsConfig) -> str:
    kind, (least, most) = kind_of(source, config), config.observed
    lengths = str(least) if least == most else f"{least} to {most}"
    if kind == "augmentation":
        what = f"augmentations of each image; actions: {', '.join(config.parameters)}"
    elif kind == "saccades":
        maps = config.saliency or "the spectral residual"
        what = (
            f"glimpses of each image along {maps if config.salient else 'no map'}; actions: changes of place"
        )
    else:
        _dataset(source, config).maker  # noqa: B018
        assert isinstance(source, PoseSource)
        name, fewest = source.fewest
        if fewest < most + 1:
            raise DataError(
                f"{name} has {fewest} view{'s' * (fewest > 1)}, a sequence needs {most + 1}: leave it out, or observe fewer "
                f"with views.observed=[{max(1, fewest - 1)}, {max(1, fewest - 1)}]"
            )
        action = "rotations in a plane" if source.form == "angle" else "rotations in space"
        more = f" and differences of {source.values} values" if source.values else ""
        what = (
            f"views of {len(source.object_names)} objects, at least {fewest} of each; actions: {action}{more}"
        )
    return f"sequences: {lengths} views are seen and one is predicted, {what}"
