"""What is random about a view."""

from __future__ import annotations

from dataclasses import dataclass

from anyjepa.errors import ConfigError


@dataclass(frozen=True)
class ViewConfig:
    """Random crop and colour changes of one kind of view. Defaults: LeJEPA's minimal code (arXiv 2511.08544).

    Colour changes act on pixel values in 0..1, so they are meant for images that were in 0..1 before their normalisation.
    Saturation, hue and greyscale exist for 3 channels only; with other numbers of channels they are left out.
    """

    size: tuple[int, int] | None = None
    """Height and width of the view in pixels; None: chosen by the method."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Least and largest share of the image's area in the crop."""
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width/height of the crop (torchvision's default)."""
    flip: float = 0.5
    """Probability of a mirror image, left to right."""
    jitter: float = 0.8
    """Probability that brightness, contrast, saturation and hue change."""
    brightness: float = 0.8
    """Brightness is multiplied by a factor in 1 +- this."""
    contrast: float = 0.8
    """Contrast is multiplied by a factor in 1 +- this."""
    saturation: float = 0.8
    """Saturation is multiplied by a factor in 1 +- this."""
    hue: float = 0.2
    """Hue turns by up to this share of the colour circle, either way."""
    greyscale: float = 0.2
    """Probability that colours become shades of grey."""
    blur: float = 0.5
    """Probability of a Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Least and largest standard deviation of the blur in pixels of the view."""
    blur_kernel: int = 7
    """Pixels along each side of the blur's kernel; odd."""
    solarize: float = 0.2
    """Probability that pixels of 0.5 and above are inverted."""
    mean: tuple[float, ...] | None = None
    """Channel means that were taken off the images; None: ImageNet's for 3 channels, 0.5 otherwise, as in `images.mean`."""
    std: tuple[float, ...] | None = None
    """Channel standard deviations the images were divided by; None: as for `mean`."""

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "greyscale", "blur", "solarize"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a probability in 0..1, got {getattr(self, name)}")
        for name in ("brightness", "contrast", "saturation", "hue"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.hue > 0.5:
            raise ConfigError(f"hue is at most half of the colour circle, 0.5, got {self.hue}")
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ConfigError(
                f"crop_scale must be (low, high) with 0 < low <= high <= 1, got {self.crop_scale}"
            )
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1]:
            raise ConfigError(f"crop_aspect must be (low, high) with 0 < low <= high, got {self.crop_aspect}")
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ConfigError(f"blur_sigma must be (low, high) with 0 < low <= high, got {self.blur_sigma}")
        if self.blur_kernel < 1 or self.blur_kernel % 2 == 0:
            raise ConfigError(f"blur_kernel must be odd, got {self.blur_kernel}: use {self.blur_kernel + 1}")
        if self.size is not None and min(self.size) < 1:
            raise ConfigError(f"size must be at least 1 pixel, got {self.size}")
        if self.std is not None and min(self.std) <= 0:
            raise ConfigError(f"std must be positive, got {self.std}")
