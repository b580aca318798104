"""How sequences of views are made of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from anyjepa.data.images import ImageConfig
from anyjepa.errors import ConfigError, nearest
from anyjepa.views.config import ViewConfig

Kind = Literal["auto", "augmentation", "poses", "saccades"]
PARAMETERS = ("crop", "colour", "blur")
_OBSERVED = dict(
    crop_scale=(0.2, 1.0), brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, jitter=0.8, greyscale=0.2
)


@dataclass(frozen=True)
class ViewsConfig(ImageConfig):
    """How images become sequences of views with the actions between them. Defaults: seq-JEPA (arXiv 2505.03176).

    What is inherited from images says how single images are read, which is what ``embed`` and ``probe`` do.
    """

    kind: Kind = "auto"
    """Where views come from: random augmentation of an image, known poses of an object, or saccades over an image. auto: poses
    where the data have them, else augmentation."""
    observed: tuple[int, int] = (3, 3)
    """Least and most views M that are seen before one is predicted; drawn for each step (3DIEBench 3, CIFAR 1 to 3, gaze 4)."""
    parameters: tuple[str, ...] = PARAMETERS
    """What of an augmentation is in its action: of crop, colour, blur (all in Table 2). The views always vary in all."""
    scaling: Literal["zscore", "view", "none"] = "zscore"
    """How the parameters of an augmentation are scaled: by their means and deviations over many draws; by their length over the
    views of a sequence (the official code, which makes an action depend on all its views); or not at all."""
    parameter_mean: tuple[float, ...] | None = None
    """Means of the parameters for zscore; None: of draws for the training data."""
    parameter_std: tuple[float, ...] | None = None
    """Their deviations; None: of draws for the training data."""
    view: ViewConfig = field(default_factory=lambda: ViewConfig(**_OBSERVED, blur=1.0, solarize=0.0))  # type: ignore[arg-type]
    """What is random about an observed view. Its size, its normalisation and, at 7, its blur_kernel are chosen by the image's."""
    next_view: ViewConfig = field(default_factory=lambda: ViewConfig(**_OBSERVED, blur=0.1, solarize=0.2))  # type: ignore[arg-type]
    """What is random about the view that is predicted."""
    canvas: tuple[int, int] | None = None
    """Height and width that images are brought to before views are cut out; None: the size of a view, for saccades 3 times it."""
    saliency: str | None = None
    """A .npy file of saliency maps (N, h, w), one per image; None: from the spectral residual and a bias to the centre."""
    salient: bool = True
    """Fixations follow the saliency map; false: they are uniform over the image."""
    inhibition: float = 0.5
    """Radius around a fixation that is not looked at again, as a share of the side of a glimpse (0.5); 0: none."""
    object_column: str = "object"
    """Column of the object in tables of poses."""
    pose_columns: tuple[str, ...] = ()
    """Columns of a pose in tables: one angle, a quaternion (x, y, z, w), or Euler angles (x, y, z); none: angle, or qx, qy, qz,
    qw, or rx, ry, rz, whichever is there."""
    value_columns: tuple[str, ...] = ()
    """Further columns whose differences are part of the action: hue of the light, for instance. In the layout of 3DIEBench: of
    floor_hue, light_theta, light_phi, light_hue."""
    radians: bool = False
    """Angles in tables are in radians, not in degrees."""
    hold_out: Literal["auto", "object", "angle"] = "auto"
    """What a held-out share of the data consists of: whole objects, or all views within sectors of 45 degrees. auto: objects,
    unless each is a class of its own, which could then not be learned."""
    chance_actions: bool = False
    """Replace every action by that of another draw, as a control: views and actions then say nothing of each other."""
    compat: Literal["paper", "official"] = "paper"
    """``official``: fixation (row, column) is looked at as (column, row), half a pixel off and spaced 32/31; inhibition is a
    square, not a circle; scaling=zscore becomes view; parameters of a crop are in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.observed[0] <= self.observed[1]:
            raise ConfigError(f"observed must be (least, most) with 1 <= least <= most, got {self.observed}")
        for name in self.parameters:
            if name not in PARAMETERS:
                raise ConfigError(f"unknown parameter '{name}': {nearest(name, PARAMETERS)}")
        if not self.parameters:
            raise ConfigError(f"parameters is empty: name at least one of {', '.join(PARAMETERS)}")
        if self.inhibition < 0:
            raise ConfigError(f"inhibition must be 0 or more, got {self.inhibition}")
        if self.pose_columns and len(self.pose_columns) not in (1, 3, 4):
            raise ConfigError(
                f"pose_columns are 1 angle, 3 Euler angles or 4 numbers of a quaternion, got {self.pose_columns}"
            )
