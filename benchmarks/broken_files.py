"""Files that are damaged on purpose, one per case, and what the readers make of them.

A case is a number: it names the kind of file, the damage, and every random byte of it. ``fuzz_readers.py`` runs thousands
in processes of their own; ``tests/data/test_damaged_files.py`` runs some in the process of the tests.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from anyjepa.data import open_source
from anyjepa.errors import AnyjepaError

OK, SKIPPED, ERROR, TRACEBACK = "ok", "skipped and counted", "clear error", "traceback"
HANG, CRASH = "hang", "crash"

MOST_READ = 12
"""Images read of each opened source."""


class Outcome(NamedTuple):
    """How one case ended."""

    kind: str
    """One of OK, SKIPPED (images are broken), ERROR (an AnyjepaError on opening), TRACEBACK, HANG, CRASH."""
    text: str
    """The message, or the traceback."""


def encoded(form: str, seed: int = 0) -> bytes:
    """A small picture in one of Pillow's formats; ``I;16`` and ``bands`` are 16 bits deep and of seven bands."""
    random = np.random.default_rng(seed)
    stream = io.BytesIO()
    if form == "bands":
        import tifffile

        tifffile.imwrite(
            stream, random.integers(0, 65536, (7, 12, 10), dtype=np.uint16), photometric="minisblack"
        )
    elif form == "I;16":
        Image.fromarray(random.integers(0, 65536, (12, 10), dtype=np.uint16)).save(stream, "PNG")
    elif form == "tiff-lzw":
        Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(
            stream, "TIFF", compression="tiff_lzw"
        )
    else:
        picture = Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8))
        (picture.convert("P") if form == "GIF" else picture).save(stream, form)
    return stream.getvalue()


def _saved(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def _parquet(stream: io.BytesIO, compression: str = "snappy") -> None:
    images = [encoded("PNG", i) for i in range(6)]
    cells = [{"bytes": image, "path": None} for image in images]
    table = pa.table(
        {"image": cells, "label": [i % 2 for i in range(6)], "name": [f"n{i}" for i in range(6)]}
    )
    pq.write_table(table, stream, row_group_size=3, compression=compression)


def _tar(stream: io.BytesIO, layout: int = tarfile.GNU_FORMAT) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=layout) as archive:
        for i in range(5):
            long = "x" * 120 if i == 2 else ""  # a name that needs a header of its own
            for ending, content in (
                (".png", encoded("PNG", i)),
                (".cls", b"%d" % i),
                (".json", b'{"label": 1}'),
            ):
                member = tarfile.TarInfo(f"{long}{i}{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def _zip(stream: io.BytesIO, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(stream, "w", method) as archive:
        for i in range(5):
            archive.writestr(f"{'ab'[i % 2]}/{i}.png", encoded("PNG", i))


def _npz(stream: io.BytesIO) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    np.savez_compressed(stream, images=images, labels=np.arange(6))


TABLE = b'path,label,note\nwhole/0.png,1,a\nwhole/1.png,2,b\n"whole/2.png",1,"c, d"\n'

FILES: dict[str, Callable[[], bytes]] = {
    **{
        f"one/x.{name.lower()}": (lambda name=name: encoded(name))
        for name in ("PNG", "BMP", "WEBP", "GIF", "PPM")
    },
    "one/x.jpg": lambda: encoded("JPEG"),
    "one/x.tif": lambda: encoded("TIFF"),
    "one/packed.tif": lambda: encoded("tiff-lzw"),
    "one/deep.png": lambda: encoded("I;16"),
    "bands/x.tiff": lambda: encoded("bands"),
    "x.npy": lambda: _saved(
        lambda s: np.save(s, np.random.default_rng(0).random((6, 8, 8, 3), dtype=np.float32))
    ),
    "x.npz": lambda: _saved(_npz),
    "x.parquet": lambda: _saved(_parquet),
    "zstd.parquet": lambda: _saved(lambda s: _parquet(s, "zstd")),
    "x.csv": lambda: TABLE,
    "x.tsv": lambda: TABLE.replace(b",", b"\t"),
    "x.tar": lambda: _saved(_tar),
    "pax.tar": lambda: _saved(lambda s: _tar(s, tarfile.PAX_FORMAT)),
    "x.zip": lambda: _saved(_zip),
    "stored.zip": lambda: _saved(lambda s: _zip(s, zipfile.ZIP_STORED)),
    "saved/data-00000-of-00001.arrow": lambda: b"",
    "saved/state.json": lambda: b"",
    "saved/dataset_info.json": lambda: b"",
}
"""Each kind of file, under the name it gets; those in ``saved/`` are written by the datasets library."""


def _flip(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    for place in random.integers(0, len(data), int(random.choice([1, 4, 32]))):
        data[place] ^= 1 << int(random.integers(8))
    return bytes(data)


def _cut(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    return bytes(data[: random.integers(0, len(data))])


def _hole(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    start = int(random.integers(0, len(data)))
    stop = start + int(random.integers(1, 200))
    return bytes(data[:start] + data[stop:])


def _zeros(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    start = int(random.integers(0, len(data)))
    piece = data[start : start + int(random.integers(1, 200))]
    return bytes(data[:start] + bytes(len(piece)) + data[start + len(piece) :])


def _huge(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    """A number somewhere in the head or the tail becomes enormous."""
    width = int(random.choice([2, 4, 8]))
    value = bytes([int(random.choice([0xFF, 0x7F, 0]))]) + b"\xff" * (width - 1)
    span = min(len(data), 160)
    start = int(random.integers(0, span)) + (0 if random.random() < 0.5 else len(data) - span)
    return bytes(data[:start] + value[:: int(random.choice([-1, 1]))] + data[start + width :])


def _digits(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    """Decimal and octal numbers of text headers become enormous."""
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    for place in random.choice(places, min(len(places), 12)) if places else ():
        data[int(place)] = int(random.choice([55, 57]))
    return bytes(data)


def _head(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    width = int(random.choice([4, 16, 64]))
    return other[:width] + bytes(data[width:])


def _wrong(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    return other


def _noise(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    keep = int(random.choice([0, 4, 16, 64]))
    return bytes(data[:keep]) + random.bytes(int(random.integers(0, 2000)))


def _twice(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    start = int(random.integers(0, len(data)))
    piece = data[start : start + int(random.integers(1, 600))]
    return bytes(data[:start] + piece * int(random.integers(2, 5)) + data[start:])


def _empty(data: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    return b""


DAMAGES = (_flip, _cut, _hole, _zeros, _huge, _digits, _head, _wrong, _noise, _twice, _flip, _huge, _empty)
"""What is done to a file; flips and huge numbers, which reach deepest into a reader, come twice."""


class Bench:
    """Whole files in memory, and a directory in which the damaged ones are written, one at a time.

    Args:
        place: an empty directory.
        seed: names all damage.
    """

    def __init__(self, place: Path, seed: int = 0) -> None:
        self.place, self.seed = place, seed
        self.names = list(FILES)
        self.whole = {name: make() for name, make in FILES.items()}
        (place / "whole").mkdir(parents=True)
        for i in range(3):
            (place / "whole" / f"{i}.png").write_bytes(encoded("PNG", i))
        self._save()

    def _save(self) -> None:
        import datasets

        datasets.disable_progress_bars()
        cells = [{"bytes": encoded("PNG", i), "path": None} for i in range(4)]
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
        )
        made = datasets.Dataset.from_dict({"image": cells, "label": [0, 1, 0, 1]}, features=features)
        made.save_to_disk(str(self.place / "saved"))
        for name in [name for name in self.names if name.startswith("saved/")]:
            self.whole[name] = (self.place / name).read_bytes()

    def case(self, number: int) -> tuple[str, str, bytes]:
        """Name of the file, name of the damage, and the damaged bytes."""
        random = np.random.default_rng([self.seed, number])
        name = self.names[number % len(self.names)]
        damage = DAMAGES[number // len(self.names) % len(DAMAGES)]
        other = self.whole[self.names[int(random.integers(len(self.names)))]]
        return name, damage.__name__.strip("_"), damage(bytearray(self.whole[name]), random, other)

    def run(self, number: int) -> Outcome:
        """Write the file of a case and read all it holds; half of the cases ask for labels."""
        name, _, content = self.case(number)
        return self.read(name, content, labels=number % 2 == 1)

    def read(self, name: str, content: bytes, labels: bool) -> Outcome:
        """What the readers make of ``content`` under ``name``."""
        path = self.place / name
        path.parent.mkdir(exist_ok=True)
        folder = path.parent if "/" in name else None
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(folder or path, labels, 7 if name.startswith("bands") else None)
        finally:
            if name.startswith("saved/"):
                path.write_bytes(self.whole[name])
            elif folder:
                shutil.rmtree(folder)
            else:
                path.unlink()


def _read(place: Path, labels: bool, channels: int | None) -> Outcome:
    try:
        # Arrays have labels only in .npz; asking an .npy would end the case before it began.
        source = open_source(place, labels=labels and place.suffix != ".npy", channels=channels)
        broken = []
        for i in range(min(len(source), MOST_READ)):
            try:
                source.identity(i)
                source.read(i)
            except AnyjepaError as error:
                broken.append(str(error))
        return Outcome(SKIPPED, broken[0]) if broken else Outcome(OK, f"{len(source)} images")
    except AnyjepaError as error:
        return Outcome(ERROR, str(error))
    except BaseException:
        return Outcome(TRACEBACK, traceback.format_exc())
