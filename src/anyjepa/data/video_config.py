"""How videos become clips."""

from __future__ import annotations

from dataclasses import dataclass

from anyjepa.data.images import ImageConfig
from anyjepa.errors import ConfigError


@dataclass(frozen=True)
class VideoConfig:
    """How videos become clips. Defaults: V-JEPA (arXiv 2404.08471, official configs)."""

    frames: int | None = None
    """Frames of a clip; None: 16, or those of the model."""
    frame_step: float = 4.0
    """Frames of the video from one frame of a clip to the next (V-JEPA; its code spaces them 4.27 apart where it means 4)."""
    fps: float | None = None
    """Frames of a clip per second instead, whatever the rate of the video (V-JEPA 2: 4); None: ``frame_step`` counts."""
    size: int | tuple[int, int] | None = None
    """Side, or height and width, in pixels of what the model sees; None: chosen from the data."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Least and largest share of a frame's area in a training crop, the same crop for the whole clip."""
    crop_aspect: tuple[float, float] = (0.75, 1.35)
    """Least and largest width/height of a training crop."""
    flip: bool = True
    """Mirror half of the training clips."""
    mean: tuple[float, ...] | None = None
    """Channel means in 0..1 taken off; None: ImageNet's."""
    std: tuple[float, ...] | None = None
    """Channel standard deviations divided by; None: ImageNet's."""
    clips: int = 1
    """Clips of each video that evaluation looks at, evenly spread over it; their tokens are joined (8 for Kinetics, 2 for
    Something-Something in the paper)."""
    views: int = 1
    """Views of each clip that evaluation looks at, evenly spread along the longer side of its frames; they span the shorter side.
    The attentive probe is trained on the middle one and answers by the mean of its probabilities (3 in the paper's tests)."""
    centre: float = 1.0
    """Share of the shorter side that evaluation with one view cuts out of the middle (224/256 in the official probes)."""
    shrink: int | None = None
    """Shorter side in pixels to which frames are shrunk as they are decoded; None: twice that of ``size``. 0: not at all."""
    cache: int = 256
    """Megabytes of decoded videos each process keeps; short videos are decoded once."""
    path_column: str | None = None
    """Column of the paths in a table; None: path, file or video, or the first."""
    label_column: str | None = None
    """Column of the labels in a table; None: label or class."""
    group_column: str | None = None
    """Column that says what a clip was cut from, so that clips of one film are never in training and in a test; None: each is by
    itself."""
    max_broken: float = 0.1
    """Largest share of videos that may be unreadable; each is replaced by the next readable one."""
    limit: int | None = None
    """Use that many videos, evenly spread over all; None: all."""

    def __post_init__(self) -> None:
        for name in ("frames", "clips", "views", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"video.{name} must be at least 1, got {value}")
        if self.frame_step <= 0 or (self.fps is not None and self.fps <= 0):
            raise ConfigError(
                f"video.frame_step and video.fps must be positive, got {self.frame_step} and {self.fps}"
            )
        if not 0 < self.centre <= 1:
            raise ConfigError(f"video.centre must lie in (0, 1], got {self.centre}")
        if self.cache < 0 or (self.shrink is not None and self.shrink < 0):
            raise ConfigError("video.cache and video.shrink must not be negative")
        # Crops, constants and max_broken have the rules of images.
        ImageConfig(
            size=self.size,
            crop_scale=self.crop_scale,
            crop_aspect=self.crop_aspect,
            mean=self.mean,
            std=self.std,
            max_broken=self.max_broken,
        )

    def spacing(self, rate: float) -> float:
        """Seconds from one frame of a clip to the next, in a video of ``rate`` frames per second."""
        return 1 / self.fps if self.fps else self.frame_step / rate
