"""Pictures with exact masks, made of two data sets without any: turntable objects pasted on photographs.

    python benchmarks/collages.py --data DATA --out COLLAGES

COIL-20 objects stand on black, so what is not black, or is enclosed by it, is the object. They are tinted, scaled and pasted at
random places on Tiny ImageNet photographs; the mask says which of five objects (1 to 5) or background (0) a pixel shows. Training
pictures use the training photographs and half of each turntable's angles, test pictures the validation photographs and the other
half (quarters of a turn in turn). A second pair of sets asks for object or background (1 or 0) alone, with ten objects for
training and the other ten in the test. In clips two objects move along straight lines while they turn, on one photograph. Written
are train.npz, test.npz, things-train.npz, things-test.npz (images, masks) and clips.npz (frames, masks).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from anyjepa.data import ImageConfig, ImageDataset

SIDE = 64
DARK = 0.06
"""Grey value (0..1) up to which a pixel of a turntable picture may be background."""
VIEWS = 72
FIVE = np.arange(5)
"""The objects that are told apart."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--test", type=int, default=400)
    parser.add_argument("--clips", type=int, default=60)
    arguments = parser.parse_args()
    write(arguments.data, arguments.out, arguments.train, arguments.test, arguments.clips)


def write(data: Path, out: Path, train: int, test: int, clips: int) -> None:
    """Make the three files, unless they are there."""
    out.mkdir(parents=True, exist_ok=True)
    objects = turntables(data / "views-coil20" / "COIL20.mat")
    inside, outside = (
        photographs(data / "image-tinyimagenet" / f"{part}.parquet") for part in ("train", "val")
    )
    every = np.arange(20)
    for name, count, source, angles, labels, seed in (
        ("train", train, inside, angles_of(0), FIVE, 0),
        ("test", test, outside, angles_of(1), FIVE, 1),
        ("things-train", train, inside, angles_of(0), every[::2], 3),
        ("things-test", test, outside, angles_of(1), every[1::2], 4),
    ):
        if not (out / f"{name}.npz").exists():
            images, masks = collages(objects, source, angles, labels, count, seed)
            if name.startswith("things"):
                masks = (masks > 0).astype(np.uint8)
            np.savez_compressed(out / f"{name}.npz", images=images, masks=masks)
    if not (out / "clips.npz").exists():
        frames, masks = moving(objects, outside, clips, seed=2)
        np.savez_compressed(out / "clips.npz", frames=frames, masks=masks)


def turntables(path: Path) -> np.ndarray:
    """Grey pictures (20, 72, 32, 32) in 0..1."""
    from scipy.io import loadmat

    return loadmat(path)["X"].reshape(20, VIEWS, 32, 32).transpose(0, 1, 3, 2)


def angles_of(half: int) -> np.ndarray:
    """Every second quarter of a turn."""
    return np.flatnonzero(np.arange(VIEWS) // (VIEWS // 4) % 2 == half)


def photographs(path: Path) -> ImageDataset:
    """Photographs, one for one."""
    return ImageDataset.open(path, ImageConfig(mean=(0.0,) * 3, std=(1.0,) * 3), SIDE)


def foreground(view: np.ndarray) -> np.ndarray:
    """What is not black, and the dark spots it encloses."""
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(view > DARK)


def sprite(view: np.ndarray, side: int, tint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A coloured object (side, side, 3) in 0..255 and where it is (side, side)."""
    picture = Image.fromarray((255 * view).astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR)
    there = torch.from_numpy(foreground(view)).float()[None, None]
    scaled = F.interpolate(there, (side, side), mode="bilinear", align_corners=False)[0, 0].numpy() > 0.5
    return np.asarray(picture, np.float32)[..., None] * tint, scaled


def paste(
    image: np.ndarray, mask: np.ndarray, what: tuple[np.ndarray, np.ndarray], top: int, left: int, label: int
) -> None:
    """Put a sprite on an image, and its label in the mask; what lies outside is cut off."""
    colours, there = what
    side = len(there)
    rows = slice(max(0, top), min(SIDE, top + side))
    columns = slice(max(0, left), min(SIDE, left + side))
    inner = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    spot = there[inner]
    image[rows, columns][spot] = colours[inner][spot]
    mask[rows, columns][spot] = label


def tint_of(generator: np.random.Generator) -> np.ndarray:
    """A faint colour, so that grey alone does not give the objects away."""
    return generator.uniform(0.6, 1.0, 3).astype(np.float32)


def backgrounds(source: ImageDataset, count: int, generator: np.random.Generator) -> np.ndarray:
    """Photographs (count, 64, 64, 3) in 0..255."""
    chosen = np.sort(generator.choice(len(source), count, replace=False))
    return 255 * source.evaluation(chosen).numpy().transpose(0, 2, 3, 1)


def collages(
    objects: np.ndarray, source: ImageDataset, angles: np.ndarray, labels: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures with one to three objects, and their masks."""
    generator = np.random.default_rng(seed)
    images = backgrounds(source, count, generator)
    masks = np.zeros((count, SIDE, SIDE), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        for label in generator.choice(labels, generator.integers(1, 4), replace=False):
            side = int(generator.integers(20, 41))
            view = objects[label, generator.choice(angles)]
            top, left = generator.integers(0, SIDE - side + 1, 2)
            paste(image, mask, sprite(view, side, tint_of(generator)), top, left, label + 1)
    return images.clip(0, 255).round().astype(np.uint8), masks


def moving(
    objects: np.ndarray, source: ImageDataset, count: int, seed: int, frames: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """Clips of two objects that cross a photograph and turn by 5 degrees a frame, and their masks (1 and 2)."""
    generator = np.random.default_rng(seed)
    stills = backgrounds(source, count, generator)
    clips = np.repeat(stills[:, None], frames, axis=1)
    masks = np.zeros((count, frames, SIDE, SIDE), np.uint8)
    for clip, mask in zip(clips, masks, strict=True):
        for label, one in enumerate(generator.choice(20, 2, replace=False), start=1):
            side, tint = int(generator.integers(22, 35)), tint_of(generator)
            start, end = generator.integers(0, SIDE - side + 1, (2, 2))
            angle = generator.integers(VIEWS)
            for t in range(frames):
                top, left = np.rint(start + (end - start) * t / (frames - 1)).astype(int)
                what = sprite(objects[one, (angle + t) % VIEWS], side, tint)
                paste(clip[t], mask[t], what, top, left, label)
    return clips.clip(0, 255).round().astype(np.uint8), masks


if __name__ == "__main__":
    main()
