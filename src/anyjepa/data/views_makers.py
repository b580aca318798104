"""Where the views of a sequence come from: augmentation, poses of an object, saccades. Each is a pure function of its draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.data.base import Source
from anyjepa.data.pose_source import PoseSource
from anyjepa.data.saccades import fixations, glimpses, spectral_saliency
from anyjepa.data.views_config import ViewsConfig
from anyjepa.errors import DataError
from anyjepa.randomness import uniform
from anyjepa.views import ViewConfig, ViewParameters, apply_views, draw_views

KERNEL = ViewConfig().blur_kernel


@dataclass(frozen=True)
class Draw:
    """What names every random draw about a batch of sequences."""

    seed: int
    step: int
    index: np.ndarray
    """(B,) positions of the samples in their source."""
    views: int
    """V, in each sequence."""
    ahead: bool
    """The last one is to be predicted, not observed."""
    purpose: str = "views"
    """Draws for two purposes are independent."""


class Maker(ABC):
    """Makes views, and says what leads from one to another.

    Attributes:
        parts: numbers of a relative transformation that belong together, by name.
    """

    parts: dict[str, tuple[int, ...]]

    @abstractmethod
    def parameters(self, draw: Draw) -> Float[Tensor, "B V P"]:
        """What the views are, as numbers."""

    @abstractmethod
    def views(self, draw: Draw, parameters: Float[Tensor, "B V P"]) -> Float[Tensor, "B V C h w"]:
        """The views, normalised."""

    def relate(self, before: Float[Tensor, "*n P"], after: Float[Tensor, "*n P"]) -> Float[Tensor, "*n A"]:
        """The transformation that leads from one view to another: the difference of their numbers."""
        return after - before

    def absolute(self, parameters: Float[Tensor, "*n P"]) -> Float[Tensor, "*n A"]:
        """What a single view is: the transformation that leads to it from where all numbers are 0."""
        return self.relate(torch.zeros_like(parameters), parameters)

    @property
    def told(self) -> tuple[int, ...]:
        """Which numbers of a transformation the model is told."""
        return tuple(i for numbers in self.parts.values() for i in numbers)


class Augmented(Maker):
    """Random crops, colours and blurs of one image. A view is 9 numbers: top, left, height and width of its crop as shares of the
    image (pixels with compat=official), brightness, contrast, saturation, hue, and the blur in pixels; mirroring, greyscale and
    solarizing are not among them.

    Args:
        dataset: the images.
    """

    def __init__(self, dataset: Canvas, config: ViewsConfig) -> None:
        self.dataset, self.config = dataset, config
        self.observed, self.predicted = (
            _fitted(view, dataset.size, config) for view in (config.view, config.next_view)
        )
        self.official = config.compat == "official"
        self.parts = {"crop": (0, 1, 2, 3), "colour": (4, 5, 6, 7), "blur": (8,)}

    @property
    def told(self) -> tuple[int, ...]:
        return tuple(
            i for name, numbers in self.parts.items() if name in self.config.parameters for i in numbers
        )

    def parameters(self, draw: Draw) -> Float[Tensor, "B V P"]:
        found = torch.cat([self._vector(part) for _, part in self._drawn(draw)]).transpose(0, 1)
        if (self.official and self.config.scaling != "none") or self.config.scaling == "view":
            return torch.nn.functional.normalize(found, dim=1)
        if self.config.scaling == "none":
            return found
        mean, std = self.config.parameter_mean, self.config.parameter_std
        if mean is None or std is None:
            return found
        return (found - found.new_tensor(mean)) / found.new_tensor(std)

    def views(self, draw: Draw, parameters: Float[Tensor, "B V P"]) -> Float[Tensor, "B V C h w"]:
        images = self.dataset.whole(draw.index)[0]
        parts = [apply_views(config, images, part) for config, part in self._drawn(draw)]
        return torch.cat(parts).transpose(0, 1)

    def spread(self, count: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and deviations of the parameters over many draws, for scaling=zscore."""
        config = replace(self.config, scaling="none", compat="paper")
        plain = Augmented(self.dataset, config)
        draw = Draw(0, 0, np.arange(count), config.observed[1] + 1, ahead=True, purpose="views/spread")
        found = plain.parameters(draw).flatten(0, 1).double()
        std = found.std(dim=0)
        # What never changes is no information; 1 keeps it 0.
        return tuple(found.mean(dim=0).tolist()), tuple(torch.where(std < 1e-6, 1.0, std).tolist())

    def _drawn(self, draw: Draw) -> list[tuple[ViewConfig, ViewParameters]]:
        kinds = [(self.observed, range(draw.views - draw.ahead))]
        if draw.ahead:
            kinds.append((self.predicted, range(draw.views - 1, draw.views)))
        return [
            (
                config,
                draw_views(
                    config,
                    self.dataset.canvas,
                    draw.index,
                    numbers,
                    seed=draw.seed,
                    step=draw.step,
                    purpose=draw.purpose,
                ),
            )
            for config, numbers in kinds
            if len(numbers)
        ]

    def _vector(self, drawn: ViewParameters) -> Float[Tensor, "V B 9"]:
        sides = torch.tensor([*self.dataset.canvas, *self.dataset.canvas], dtype=torch.float32)
        box = drawn.box * sides if self.official else drawn.box
        rest = [drawn.brightness, drawn.contrast, drawn.saturation, drawn.hue, drawn.blur]
        return torch.cat((box, torch.stack(rest, dim=-1)), dim=-1).float()


class Posed(Maker):
    """Other images of the same object, in random order without repeats, the sample itself first."""

    def __init__(self, dataset: Canvas, config: ViewsConfig, source: PoseSource) -> None:
        self.dataset, self.config, self.source = dataset, config, source
        width = 4 if source.form == "quaternion" else 2
        self.parts = {"rotation": tuple(range(width))}
        if source.values:
            self.parts["values"] = tuple(range(width, width + source.values))

    def rows(self, draw: Draw) -> np.ndarray:
        """(B, V) which images the views are.

        Raises:
            DataError: an object has fewer.
        """
        members = self.source.members[self.source.objects[draw.index]]
        order = uniform(draw.seed, f"{draw.purpose}/order", draw.step, draw.index, members.shape[1])
        order[members < 0] = 2.0
        order[members == draw.index[:, None]] = -1.0
        counts = (members >= 0).sum(axis=1)
        if counts.min() < draw.views:
            which = self.source.object_names[int(self.source.objects[draw.index[counts.argmin()]])]
            raise DataError(
                f"{which} has {counts.min()} view{'s' * int(counts.min() > 1)}, a sequence needs {draw.views}: leave it out, "
                "or observe fewer with views.observed"
            )
        return np.take_along_axis(members, order.argsort(axis=1)[:, : draw.views], axis=1)

    def parameters(self, draw: Draw) -> Float[Tensor, "B V P"]:
        return torch.from_numpy(self.source.poses(self.rows(draw))).float()

    def views(self, draw: Draw, parameters: Float[Tensor, "B V P"]) -> Float[Tensor, "B V C h w"]:
        images, read = self.dataset.whole(self.rows(draw).reshape(-1))
        shape = parameters.shape[:2]
        # Where an unreadable image was replaced, its pose is that of what took its place.
        parameters.copy_(torch.from_numpy(self.source.poses(read.reshape(shape))))
        return images.unflatten(0, tuple(shape))

    def relate(self, before: Float[Tensor, "*n P"], after: Float[Tensor, "*n P"]) -> Float[Tensor, "*n A"]:
        return torch.from_numpy(self.source.relate(before.double().numpy(), after.double().numpy())).float()

    def absolute(self, parameters: Float[Tensor, "*n P"]) -> Float[Tensor, "*n A"]:
        origin = torch.from_numpy(self.source.origin).to(parameters)
        return self.relate(origin.expand_as(parameters), parameters)


class Saccades(Maker):
    """Glimpses of one image. A view is 2 numbers: row and column of its fixation as shares of the image."""

    def __init__(self, dataset: Canvas, config: ViewsConfig) -> None:
        self.dataset, self.config = dataset, config
        self.maps = None if config.saliency is None else _maps(config.saliency, len(dataset.source))
        self.parts = {"position": (0, 1)}
        self._seen: tuple[Draw, Tensor] | None = None

    def parameters(self, draw: Draw) -> Float[Tensor, "B V P"]:
        draws = uniform(draw.seed, f"{draw.purpose}/fixation", draw.step, draw.index, draw.views)
        found = fixations(
            self._saliency(draw),
            torch.from_numpy(draws),
            # Uniform fixations of the official code know no inhibition.
            0.0
            if self.official and not self.config.salient
            else self.config.inhibition * self.dataset.size[0],
            square=self.official,
        )
        return found.float() / torch.tensor(self.dataset.canvas)

    def views(self, draw: Draw, parameters: Float[Tensor, "B V P"]) -> Float[Tensor, "B V C h w"]:
        centres = parameters * torch.tensor(self.dataset.canvas)
        images, spacing = self._images(draw), 1.0
        if self.official:
            side = self.dataset.size[0]
            centres, spacing = centres.flip(-1) - 0.5, side / (side - 1)
        return glimpses(images, centres, self.dataset.size, spacing)

    @property
    def official(self) -> bool:
        """Whether the slips of the official code are wanted."""
        return self.config.compat == "official"

    def _images(self, draw: Draw) -> Tensor:
        # Asked for twice of each batch: for the map and for the glimpses.
        if self._seen is None or self._seen[0] is not draw:
            self._seen = (draw, self.dataset.whole(draw.index)[0])
        return self._seen[1]

    def _saliency(self, draw: Draw) -> Float[Tensor, "B H W"]:
        height, width = self.dataset.canvas
        if not self.config.salient:
            return torch.ones(len(draw.index), height, width)
        if self.maps is None:
            return spectral_saliency(self._images(draw))
        found = torch.from_numpy(np.asarray(self.maps[draw.index], dtype=np.float32))
        if not torch.isfinite(found).all() or bool((found < 0).any()):
            raise DataError(f"{self.config.saliency}: saliency must be finite and not negative")
        if found.shape[1:] == (height, width):
            return found
        return torch.nn.functional.interpolate(found[:, None], (height, width), mode="bilinear")[:, 0]


class Canvas(ABC):
    """What makers need of a data set.

    Attributes:
        canvas: height and width images are brought to.
        size: height and width of a view.
        source: the images.
    """

    canvas: tuple[int, int]
    size: tuple[int, int]
    source: Source

    @abstractmethod
    def whole(self, rows: np.ndarray) -> tuple[Float[Tensor, "B C H W"], np.ndarray]:
        """Images on the canvas, normalised, and which they are: the next readable one where one is broken."""


def _fitted(view: ViewConfig, size: tuple[int, int], config: ViewsConfig) -> ViewConfig:
    """The config of a view with its size, its normalisation, and a kernel of a tenth of its side."""
    side = min(size)
    kernel = 2 * max(0, round((side - 10) / 20)) + 1 if view.blur_kernel == KERNEL else view.blur_kernel
    return replace(view, size=size, mean=config.mean, std=config.std, blur_kernel=kernel)


def _maps(path: str, count: int) -> np.ndarray:
    try:
        maps = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy fed with broken bytes raises what its parts raise
        raise DataError(f"cannot read the saliency maps {path}: {error}") from error
    if maps.ndim != 3 or len(maps) != count:
        raise DataError(
            f"{path} must hold a saliency map for each of the {count} images, (N, h, w), got shape {maps.shape}"
        )
    return maps
