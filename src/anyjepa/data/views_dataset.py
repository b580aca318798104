"""Sequences of views with the actions between them, as training batches and for evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Bundle
from anyjepa.data.base import Source
from anyjepa.data.dataset import Indices
from anyjepa.data.images import ImageConfig, ImageDataset
from anyjepa.data.pose_source import PoseSource
from anyjepa.data.transforms import resize_centre
from anyjepa.data.views_config import ViewsConfig
from anyjepa.data.views_makers import Augmented, Canvas, Draw, Maker, Posed, Saccades
from anyjepa.errors import DataError
from anyjepa.randomness import uniform

GLIMPSES = 3
"""Sides of an image in glimpses, where its size is not given: 96 pixels in glimpses of 32."""


@dataclass(frozen=True)
class Sequences:
    """Sequences for evaluation.

    Attributes:
        inputs: what the method takes: ``views`` (B, V, C, h, w) and ``actions`` (B, V - 1, A).
        parameters: (B, V, P) what each view is, as numbers; see :meth:`ViewsDataset.relate`.
    """

    inputs: Bundle
    parameters: Float[Tensor, "B V P"]


class ViewsDataset(ImageDataset, Canvas):
    """Batches of sequences for training; single images for evaluation, and sequences where these are asked for.

    Args:
        source: the images, with poses where the views come from these.
        config: how they become batches.
    """

    config: ViewsConfig

    def __init__(self, source: Source, config: ViewsConfig) -> None:
        super().__init__(source, config)
        self.kind = kind_of(source, config)
        scale = GLIMPSES if self.kind == "saccades" else 1
        self.canvas = ImageConfig.sides(config.canvas or (scale * self.size[0], scale * self.size[1]))
        self._maker: Maker | None = None

    @property
    def maker(self) -> Maker:
        """What makes the views.

        Raises:
            DataError: it needs poses, and the images have none; or saliency maps cannot be read.
        """
        if self._maker is None:
            if self.kind == "augmentation":
                self._maker = Augmented(self, self.config)
            elif self.kind == "saccades":
                self._maker = Saccades(self, self.config)
            elif isinstance(self.source, PoseSource):
                self._maker = Posed(self, self.config, self.source)
            else:
                raise DataError(
                    "views.kind=poses needs images whose objects and poses are known: a .mat as COIL-20's, an .npz or table with "
                    f"'{self.config.object_column}' and an angle, a quaternion or Euler angles, or folders as 3DIEBench's"
                )
        return self._maker

    @property
    def action_dim(self) -> int:
        """Numbers of an action that the model is told."""
        return len(self.maker.told)

    def draw(self, step: int, indices: Indices, seed: int) -> Bundle:  # type: ignore[override]
        """Training batch: ``views`` (B, M + 1, C, h, w), the last of which is to be predicted, and ``actions`` (B, M, A).

        M is drawn for each step, all else for each sample: row b depends on seed, step, indices[b] only.
        """
        least, most = self.config.observed
        share = float(uniform(seed, "views/length", step, 0, 1)[0, 0])
        views = least + int(share * (most - least + 1)) + 1
        return self._make(Draw(seed, step, np.asarray(indices, dtype=np.int64), views, ahead=True)).inputs

    def varied(self, step: int, indices: Indices, seed: int) -> Float[Tensor, "B C H W"]:
        """Single images in random crops, for training with labels."""
        return ImageDataset.draw(self, step, indices, seed)

    def sequences(self, indices: Indices, views: int, seed: int = 0, *, ahead: bool = False) -> Sequences:
        """Sequences of ``views`` views that begin with (or are of) some samples, with what each view is.

        Args:
            indices: which samples.
            views: V.
            seed: names the draws.
            ahead: the last view is drawn as those are that are to be predicted.
        """
        index = np.asarray(indices, dtype=np.int64)
        return self._make(Draw(seed, 0, index, views, ahead, purpose="views/evaluation"))

    def relate(self, before: Float[Tensor, "*n P"], after: Float[Tensor, "*n P"]) -> Float[Tensor, "*n A"]:
        """The transformation between two views, also of what the model is not told; :attr:`Maker.parts` says which is which."""
        return self.maker.relate(before, after)

    def whole(self, rows: np.ndarray) -> tuple[Float[Tensor, "B C H W"], np.ndarray]:
        found = [self.read(i) for i in rows.tolist()]
        images = self._normalise(resize_centre([image for image, _ in found], self.canvas))
        return images, np.array([row for _, row in found], dtype=np.int64)

    def _make(self, draw: Draw) -> Sequences:
        parameters = self.maker.parameters(draw)
        views = self.maker.views(draw, parameters)
        told = parameters
        if self.config.chance_actions:
            told = self.maker.parameters(replace(draw, purpose=f"{draw.purpose}/chance"))
        actions = self.maker.relate(told[:, :-1], told[:, 1:])[..., list(self.maker.told)]
        return Sequences(Bundle({"views": views.contiguous(), "actions": actions.float()}), parameters)


def kind_of(source: Source, config: ViewsConfig) -> str:
    """Where views come from: poses where the data have them, unless the config says otherwise."""
    if config.kind != "auto":
        return config.kind
    return "poses" if isinstance(source, PoseSource) else "augmentation"
