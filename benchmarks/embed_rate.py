"""What ``anyjepa embed`` costs beside a bare loop, and how much memory it takes.

    python benchmarks/embed_rate.py [--data .../image-cifar10/train.parquet]

Rate: the same images decoded, normalised and encoded by a dozen lines of PyTorch and Pillow (which keep the vectors in memory),
and by ``anyjepa embed`` (which writes them to a Parquet file, from which it could resume); in turn, in pairs. Memory: the
largest resident size of a process that embeds 1,000, 5,000 and 10,000 images of a folder, with one narrow block instead of
nano: what grows with the data does not depend on the encoder.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import anyjepa
from anyjepa.config import to_dict
from anyjepa.embedding import embed
from anyjepa.normalisation import IMAGENET_MEAN, IMAGENET_STD
from anyjepa.training.checkpoint import State, load_method, save

RESULT = Path(__file__).parent / "results" / "embed_rate.json"
BATCH = 64


def bare_loop(run: Path, data: Path) -> np.ndarray:
    """What a user would write: everything but names, labels, broken files, progress, resume and the file."""
    method = load_method(run)
    encoded = pq.read_table(data, columns=["image"])["image"].to_pylist()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    found = []
    with torch.inference_mode():
        for start in range(0, len(encoded), BATCH):
            pictures = [
                np.asarray(Image.open(io.BytesIO(e)).convert("RGB")) for e in encoded[start : start + BATCH]
            ]
            images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
            found.append(method.encode((images - mean) / std).pooled.numpy())
    return np.concatenate(found)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and seconds of processor time, all threads together."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def encoded_images(data: Path, count: int) -> list[bytes]:
    """The first images of a Parquet file, as the bytes of their files."""
    column = next(pq.ParquetFile(data).iter_batches(count, columns=["image"])).column("image").to_pylist()
    return [cell["bytes"] if isinstance(cell, dict) else cell for cell in column]


def make_run(folder: Path, **fields: int) -> Path:
    """A nano I-JEPA for 32-pixel images with random weights: how fast it is does not depend on them."""
    method = anyjepa.create("ijepa", size="nano", image_size=[32, 32], patch_size=4, **fields)
    content = {"method": "ijepa", "model": to_dict(method.config), "images": {"size": 32, "channels": 3}}
    save(folder, State(0, 0.0, content), dict(method.state_dict()), {})
    return folder


def peak(run: Path, folder: Path) -> float:
    """Largest resident size in MB of a process of its own that embeds a folder."""
    command = [sys.executable, __file__, "--peak", str(run), str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = Path(os.environ.get("ANYJEPA_DATA") or Path(__file__).parents[1] / "../shared/data")
    parser.add_argument("--data", type=Path, default=root / "image-cifar10" / "train.parquet")
    parser.add_argument("--images", type=int, default=10_000, help="images of a pair")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        run, folder = options.peak
        embed(run, folder, Path(folder).with_suffix(".parquet"))
        # Not getrusage: its maximum is that of the parent where the parent was larger.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return
    if not options.data.is_file():
        sys.exit(f"{options.data} does not exist: name a Parquet file of images with --data")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run, images = make_run(place / "run"), encoded_images(options.data, max(10_000, options.images))
        pairs = []
        for i in range(options.pairs):
            table = place / f"{i}.parquet"
            pq.write_table(pa.table({"image": images[: options.images]}), table)
            works = {
                "bare": lambda t=table: bare_loop(run, t),
                "embed": lambda t=table: embed(run, t, t.with_suffix(".out.parquet"), batch_size=BATCH),
            }
            # The first of a pair changes, so that neither always meets the colder caches.
            order = list(works) if i % 2 else list(works)[::-1]
            seconds = {which: timed(works[which]) for which in order}
            pairs.append({which: {"wall": wall, "cpu": cpu} for which, (wall, cpu) in seconds.items()})
            print(i, pairs[-1], flush=True)
        vectors = np.stack(pq.read_table(place / "0.out.parquet")["vector"].to_pylist())
        difference = float(np.abs(vectors - bare_loop(run, place / "0.parquet")).max())
        peaks, narrow = {}, make_run(place / "narrow", dim=32, depth=1)
        for count in (1_000, 5_000, 10_000):
            (place / str(count)).mkdir()
            for i, picture in enumerate(images[:count]):
                (place / str(count) / f"{i:05d}.png").write_bytes(picture)
            peaks[str(count)] = round(peak(narrow, place / str(count)), 1)
            print(count, peaks[str(count)], "MB", flush=True)
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "hardware": f"x86-64, {os.cpu_count()} cores, torch {torch.__version__.split('+')[0]} CPU, one thread of torch",
        "images_per_pair": options.images,
        "batch_size": BATCH,
        "pairs": pairs,
        "rate_over_bare_wall": median(p["bare"]["wall"] / p["embed"]["wall"] for p in pairs),
        "rate_over_bare_cpu": median(p["bare"]["cpu"] / p["embed"]["cpu"] for p in pairs),
        "largest_difference_of_vectors": difference,
        "peak_rss_mb": peaks,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "pairs"}, indent=1))


if __name__ == "__main__":
    main()
