"""Every reader gives the pixels that were stored, in a fixed order, and one clear error otherwise."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from image_files import pixels, png, write_parquet
from PIL import Image

from anyjepa.data import inspect, open_source
from anyjepa.data.decode import decode
from anyjepa.errors import ConfigError, DataError


def hwc(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(1, 2, 0).numpy()


def test_folder_reads_all_in_sorted_order_at_any_depth(tmp_path: Path) -> None:
    names = ["b/2.png", "a/deep/er/1.png", "0.png", "b/10.png", "a/Z.PNG"]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(pixels(i, 9, 7)))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "b" / "._2.png").write_bytes(b"resource fork")
    source = open_source(tmp_path)
    order = sorted(names)
    assert [source.identity(i) for i in range(len(source))] == order
    for i, name in enumerate(order):
        np.testing.assert_array_equal(hwc(source.read(i)), pixels(names.index(name), 9, 7))
    assert source.label(0) is None and source.classes is None


def test_folder_labels_are_the_directories_around_the_images(folder: Path) -> None:
    source = open_source(folder, labels=True)
    assert source.class_names == ("cat", "dog")
    assert [source.label(i) for i in range(12)] == [0] * 6 + [1] * 6


def test_limit_is_spread_over_the_source(folder: Path) -> None:
    source = open_source(folder, labels=True, limit=4)
    assert [source.identity(i) for i in range(len(source))] == [
        f"{p}/{n}.png" for p, n in (("cat", "00"), ("cat", "03"), ("dog", "06"), ("dog", "09"))
    ]
    assert [source.label(i) for i in range(4)] == [0, 0, 1, 1]
    assert len(open_source(folder, limit=99)) == 12


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "tif", "gif", "jpg"])
def test_every_format_is_read(tmp_path: Path, ending: str) -> None:
    flat = np.full((16, 16, 3), (200, 60, 20), dtype=np.uint8)
    Image.fromarray(flat).save(tmp_path / f"x.{ending}")
    image = open_source(tmp_path, channels=3).read(0)
    assert image.dtype == torch.uint8 and image.shape == (3, 16, 16)
    np.testing.assert_allclose(hwc(image).astype(int), flat.astype(int), atol=6)  # webp and jpg lose a little


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert (open_source(tmp_path, channels=1).read(0) == 10).all()


MODES = {
    "1": (Image.new("1", (4, 6), 1), 255),
    "L": (Image.new("L", (4, 6), 51), 51),
    "LA": (Image.new("LA", (4, 6), (51, 7)), 51),
    "RGB": (Image.new("RGB", (4, 6), (51, 51, 51)), 51),
    "RGBA": (Image.new("RGBA", (4, 6), (51, 51, 51, 9)), 51),
    "CMYK": (Image.new("CMYK", (4, 6), (204, 204, 204, 0)), 51),
    "P": (Image.new("RGB", (4, 6), (51, 51, 51)).convert("P", palette=Image.Palette.ADAPTIVE), 51),
    "I;16": (Image.fromarray(np.full((6, 4), 13107, dtype=np.uint16)), 0.2),
    "F": (Image.fromarray(np.full((6, 4), 0.25, dtype=np.float32)), 0.25),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_grey_or_colour(tmp_path: Path, mode: str, channels: int) -> None:
    image, value = MODES[mode]
    image.save(tmp_path / "x.tif")
    read = open_source(tmp_path, channels=channels).read(0)
    assert read.shape == (channels, 6, 4)
    assert read.dtype == (torch.float32 if isinstance(value, float) else torch.uint8)
    assert read.float().sub(value).abs().max() <= (1e-6 if isinstance(value, float) else 1)


def test_sixteen_bit_png_keeps_its_depth(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (5, 7)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.png")
    source = open_source(tmp_path)
    assert source.channels == 1
    np.testing.assert_allclose(source.read(0)[0].numpy(), deep / 65535, atol=1e-7)


def test_channels_follow_the_data(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(pixels(i, 6, 6, 1)))
    assert open_source(tmp_path).channels == 1
    (tmp_path / "1.png").write_bytes(png(pixels(1, 6, 6)))
    assert open_source(tmp_path).channels == 3
    assert open_source(tmp_path).read(0).shape == (3, 6, 6)
    with pytest.raises(DataError, match=r"1\.png.*RGB with 3 channels, expected 2"):
        open_source(tmp_path, channels=2).read(1)


def test_parquet_bytes_with_labels(tmp_path: Path) -> None:
    arrays = write_parquet(tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet", labels=True)
    for i, array in enumerate(arrays):
        np.testing.assert_array_equal(hwc(source.read(i)), array)
    assert [source.label(i) for i in range(24)] == [i % 3 for i in range(24)]
    assert source.classes == 3 and source.identity(23) == "x.parquet row 23"
    assert open_source(tmp_path / "x.parquet").label(0) is None


def test_parquet_folder_is_read_in_order_across_files(tmp_path: Path) -> None:
    arrays = write_parquet(tmp_path / "part-0.parquet", 5) + write_parquet(
        tmp_path / "part-1.parquet", 4, seed=50
    )
    source = open_source(tmp_path)
    assert len(source) == 9 and source.identity(5) == "part-1.parquet row 0"
    for i, array in enumerate(arrays):
        np.testing.assert_array_equal(hwc(source.read(i)), array)


def test_parquet_structs_as_hugging_face_writes_them(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(png(pixels(1, 8, 8)))
    cells = [{"bytes": png(pixels(0, 8, 8)), "path": None}, {"bytes": None, "path": "outside.png"}, None]
    features = b'{"info": {"features": {"label": {"names": ["ant", "bee"], "_type": "ClassLabel"}}}}'
    table = pa.table({"image": cells, "label": [1, 0, 1]}).replace_schema_metadata({"huggingface": features})
    pq.write_table(table, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet", labels=True)
    for i in range(2):
        np.testing.assert_array_equal(hwc(source.read(i)), pixels(i, 8, 8))
    assert source.class_names == ("ant", "bee") and source.label(0) == 1
    with pytest.raises(DataError, match=r"x\.parquet row 2.*empty"):
        source.read(2)


def test_parquet_of_paths(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(pixels(3, 8, 8)))
    pq.write_table(pa.table({"path": ["pictures/a.png"], "class": ["ant"]}), tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet", labels=True)
    np.testing.assert_array_equal(hwc(source.read(0)), pixels(3, 8, 8))
    assert source.class_names == ("ant",)


def test_parquet_columns_found_or_named(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    cells = [png(pixels(0, 8, 8))]
    pq.write_table(pa.table({"scan": cells, "name": ["a"]}), file)
    assert open_source(file).read(0).shape == (3, 8, 8)  # the only binary column
    with pytest.raises(DataError, match="label_column"):
        open_source(file, labels=True)
    assert open_source(file, labels=True, label_column="name").class_names == ("a",)
    with pytest.raises(DataError, match="did you mean 'scan'"):
        open_source(file, image_column="scam")
    pq.write_table(pa.table({"left": cells, "right": cells}), file)
    with pytest.raises(DataError, match=r"image_column.*left, right"):
        open_source(file)
    assert len(open_source(file, image_column="right")) == 1


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_arrays(tmp_path: Path, layout: str, dtype: str) -> None:
    scale = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    values = np.random.default_rng(0).random((5, 6, 7, 3) if layout != "NHW" else (5, 6, 7)) * scale
    stored = values.astype(dtype)
    expected = (stored[:, None] if layout == "NHW" else stored.transpose(0, 3, 1, 2)).astype(np.float64)
    np.save(tmp_path / "x.npy", stored.transpose(0, 3, 1, 2) if layout == "NCHW" else stored)
    source = open_source(tmp_path / "x.npy")
    assert source.channels == (1 if layout == "NHW" else 3)
    read = source.read(4)
    assert read.dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
    np.testing.assert_allclose(read.numpy() * (1 if dtype == "uint8" else scale), expected[4], rtol=1e-5)


def test_array_channels_can_be_changed(tmp_path: Path) -> None:
    np.save(tmp_path / "rgba.npy", pixels(0, 30, 6, 1).reshape(-1, 5, 6)[:, :, :, None].repeat(4, 3))
    np.save(tmp_path / "bands.npy", np.zeros((3, 8, 8, 7), dtype=np.uint8))
    assert open_source(tmp_path / "rgba.npy").channels == 4
    grey, colour = (open_source(tmp_path / "rgba.npy", channels=c).read(0) for c in (1, 3))
    assert (
        grey.shape == (1, 5, 6) and grey.dtype == torch.uint8 and torch.equal(grey.expand(3, -1, -1), colour)
    )
    assert open_source(tmp_path / "bands.npy").read(0).shape == (7, 8, 8)
    with pytest.raises(DataError, match="7 channels"):
        open_source(tmp_path / "bands.npy", channels=3)


def test_npz_with_labels(tmp_path: Path) -> None:
    images, labels = pixels(0, 40, 6, 1).reshape(8, 5, 6), np.arange(8) % 4
    np.savez(tmp_path / "named.npz", y=labels, images=images, mask=np.zeros((8, 5, 6), dtype=np.uint8))
    np.savez_compressed(tmp_path / "other.npz", ids=labels, scans=images)
    source = open_source(tmp_path / "named.npz", labels=True)
    np.testing.assert_array_equal(source.read(7)[0], images[7])
    assert [source.label(i) for i in range(8)] == labels.tolist()
    np.testing.assert_array_equal(open_source(tmp_path / "other.npz").read(7)[0], images[7])
    with pytest.raises(DataError, match="ids, scans"):
        open_source(tmp_path / "other.npz", labels=True)


def test_digits_split_without_overlap() -> None:
    whole, train, test = (
        open_source(name, labels=True) for name in ("digits", "digits:train", "digits:test")
    )
    assert (len(whole), len(train), len(test)) == (1797, 1347, 450)
    assert whole.channels == 1 and whole.classes == train.classes == test.classes == 10
    everything = torch.stack([whole.read(i) for i in range(len(whole))])
    assert everything.shape == (1797, 1, 8, 8) and everything.min() == 0 and everything.max() == 255
    assert torch.equal(test.read(1), whole.read(4)) and test.label(1) == whole.label(4)
    assert torch.equal(train.read(3), whole.read(5)) and train.label(3) == whole.label(5)


def test_sources_survive_pickling(tmp_path: Path, folder: Path) -> None:
    write_parquet(tmp_path / "x.parquet", 3)
    np.save(tmp_path / "x.npy", pixels(0, 8, 8)[None])
    np.savez(tmp_path / "x.npz", x=pixels(0, 8, 8)[None])
    for path in (folder, tmp_path / "x.parquet", tmp_path / "x.npy", tmp_path / "x.npz", "digits:test"):
        source = open_source(path)
        first = source.read(0)
        message = pickle.dumps(source)
        assert torch.equal(pickle.loads(message).read(0), first)
        assert len(message) < 4000, "the data themselves must not travel to a worker"


def broken_files(tmp_path: Path) -> dict[str, Path]:
    whole = png(pixels(0, 40, 40))
    files = {
        "torn.png": whole[: len(whole) // 2],
        "text.jpg": b"hello",
        "empty.png": b"",
        "torn.npy": b"\x93NUM",
        "torn.npz": b"PK\x03\x04xx",
        "torn.parquet": b"PAR1",
        "notes.txt": b"hi",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "ints.npy", np.zeros((2, 4, 4), dtype=np.int64))
    np.save(tmp_path / "flat.npy", np.zeros((2, 4)))
    np.save(tmp_path / "none.npy", np.zeros((0, 4, 4)))
    np.save(tmp_path / "short.npy", np.zeros((9, 4, 4)))
    (tmp_path / "short.npy").write_bytes((tmp_path / "short.npy").read_bytes()[:-100])
    (tmp_path / "vacant").mkdir()
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing", "does not exist.*folder of images"),
        ("vacant", "holds no images"),
        ("notes.txt", "txt file"),
        ("text.jpg", "give the folder around it"),
        ("torn.npy", "torn.npy"),
        ("torn.npz", "torn.npz"),
        ("torn.parquet", "torn.parquet is not a whole parquet file"),
        ("object.npy", "cannot read.*object.npy"),
        ("short.npy", "cannot read.*short.npy"),
        ("ints.npy", "int64.*uint8, uint16 or floats"),
        ("flat.npy", r"shape \(2, 4\)"),
        ("none.npy", r"shape \(0, 4, 4\)"),
    ],
)
def test_what_cannot_be_opened_says_so(tmp_path: Path, name: str, text: str) -> None:
    broken_files(tmp_path)
    with pytest.raises(DataError, match=text):
        open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["torn.png", "text.jpg", "empty.png"])
def test_a_broken_image_is_named(tmp_path: Path, name: str) -> None:
    path = broken_files(tmp_path)[name]
    with pytest.raises(DataError, match=name):
        decode(path, 3, str(path))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12, 20])  # Pillow warns about the first and refuses the second
def test_decompression_bombs_are_broken(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"bomb\.png.*pixels"):
        decode(png(pixels(0, side, side)), 3, "bomb.png")


def test_values_that_are_not_finite_are_broken(tmp_path: Path) -> None:
    values = np.zeros((2, 4, 4), dtype=np.float32)
    values[1, 2, 2] = np.nan
    np.save(tmp_path / "x.npy", values)
    source = open_source(tmp_path / "x.npy")
    assert source.read(0).shape == (1, 4, 4)
    with pytest.raises(DataError, match=r"x\.npy row 1.*finite"):
        source.read(1)


def test_impossible_wishes() -> None:
    with pytest.raises(ConfigError, match="limit"):
        open_source("digits", limit=0)
    with pytest.raises(ConfigError, match="channels"):
        open_source("digits", channels=0)


def test_real_cifar10(require_data: Callable[[str], Path]) -> None:
    source = open_source(require_data("image-cifar10") / "train.parquet", labels=True)
    assert len(source) == 50_000 and source.channels == 3
    assert np.bincount(source.labels).tolist() == [5000] * 10
    report = inspect(source, sample=500)
    assert report.default_size == (32, 32) and not report.broken
    # the published channel statistics of the CIFAR-10 training set
    np.testing.assert_allclose(report.mean, (0.4914, 0.4822, 0.4465), atol=0.02)
    np.testing.assert_allclose(report.std, (0.2470, 0.2435, 0.2616), atol=0.02)
