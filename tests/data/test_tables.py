"""CSV tables, parquet larger than memory, data sets of the Hugging Face library, bands, limits and pipes."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from image_files import pixels, png, write_parquet
from PIL import Image

from anyjepa.data import ImageConfig, ImageDataset, open_source
from anyjepa.data.parquet import CACHED, ParquetSource
from anyjepa.errors import ConfigError, DataError, MissingExtraError


def same(source, i: int, seed: int, size: tuple[int, int] = (12, 10)) -> None:
    np.testing.assert_array_equal(source.read(i).permute(1, 2, 0).numpy(), pixels(seed, *size))


@pytest.mark.parametrize(("ending", "mark"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_csv_of_paths(folder: Path, ending: str, mark: str) -> None:
    outside = folder.parent / "outside, really.png"
    outside.write_bytes(png(pixels(40, 12, 10)))
    table = folder / f"photos.{ending}"
    lines = [["id", "path", "label"], ["x", "cat/00.png", "3"], ["y", f'"{outside}"', "5"]]
    lines += [["z", "dog/../cat/01.png", "3"]]
    table.write_text("\ufeff" + "\n".join(mark.join(line) for line in lines) + "\n", encoding="utf-8")
    source = open_source(table, labels=True)
    assert len(source) == 3 and [source.label(i) for i in range(3)] == [3, 5, 3]
    for i, seed in enumerate((0, 40, 1)):
        same(source, i, seed)
    assert source.identity(0) == f"photos.{ending} row 0 (cat/00.png)"
    assert open_source(table).labels is None


def test_csv_columns_found_or_named(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("scan,species\ncat/00.png,ant\ndog/06.png,bee\n")
    with pytest.raises(DataError, match=r"image_column.*Columns: scan, species"):
        open_source(table)
    source = open_source(table, image_column="scan", label_column="species", labels=True)
    assert source.class_names == ("ant", "bee")
    with pytest.raises(DataError, match="did you mean 'scan'"):
        open_source(table, image_column="scam")
    table.write_text("anything\ncat/00.png\n")
    same(open_source(table), 0, 0)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("https://example.org/a.png", "nothing is fetched"),
        ("cat", "is a folder"),
        ("missing.png", "No such file"),
        ("pipe.png", "is a pipe"),
        ("/dev/zero", "is a device"),
        ('""', "the row is empty"),
    ],
)
def test_csv_rows_that_are_broken(folder: Path, row: str, text: str) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / "t.csv").write_text(f"path,x\ncat/00.png,1\n{row},2\n")
    source = open_source(folder / "t.csv")
    same(source, 0, 0)
    with pytest.raises(DataError, match=rf"t\.csv row 1.*{text}|{text}"):
        source.read(1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "first line must name the columns"),
        (b"path,label\na.png,1\nb.png\n", "not a whole table"),
        (b"\xff\xfe\0\0path", "UTF-8"),
        (b"path\n\xff\xfe\n", "UTF-8"),
        (b"path\n" + b"a.png\n" * 9999 + b"\xff\xfe\n", "not a whole table"),
        (b"cat/00.png,1\n", "which column holds the images"),
    ],
)
def test_csv_files_that_are_broken(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=text):
        open_source(tmp_path / "t.csv")


def test_pipes_and_devices_do_not_hang(tmp_path: Path) -> None:
    for name in ("x.parquet", "x.tar", "x.npy", "x.npz", "x.csv", "x.zip", "photos/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.mkfifo(tmp_path / name)
    for name in ("x.parquet", "x.tar", "x.npy", "x.npz", "x.csv", "x.zip"):
        with pytest.raises(DataError, match="is a pipe"):
            open_source(tmp_path / name)
    with pytest.raises(DataError, match="is a pipe"):
        open_source(tmp_path / "photos").read(0)


def test_parquet_larger_than_memory_gives_the_same_images(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", 24)
    write_parquet(tmp_path / "b.parquet", 90, seed=30)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    held, groups = ParquetSource(files), ParquetSource(files, in_memory=0)
    order = np.random.default_rng(0).permutation(len(held)).tolist()
    for i in order:
        assert torch.equal(held.read(i), groups.read(i)) and held.identity(i) == groups.identity(i)
    assert groups._column is None and 0 < len(groups._cache) <= CACHED
    assert len(pickle.dumps(groups)) < 4000


def test_a_damaged_row_group_costs_its_own_images_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "x.parquet", 24)
    column = pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(1).column(0)
    raw = bytearray((tmp_path / "x.parquet").read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    raw[start : start + 24] = b"\xff" * 24
    (tmp_path / "x.parquet").write_bytes(raw)
    source = open_source(tmp_path / "x.parquet")
    reads = []
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_groups",
        lambda self, groups, _read=pq.ParquetFile.read_row_groups, **more: (
            reads.append(groups) or _read(self, groups, **more)
        ),
    )
    broken = []
    for i in range(24):
        try:
            assert source.read(i).shape[0] == 3
        except DataError as error:
            broken.append(i)
            assert f"row {i}" in str(error)
    assert broken == list(range(7, 14))
    assert len(reads) <= 4, "the damaged group is read once, not once for each of its images"


def test_parquet_that_claims_more_rows_than_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.nulls(300_000, pa.binary())}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="claims 300000 rows"):
        open_source(tmp_path / "x.parquet")


def saved(tmp_path: Path):
    datasets = pytest.importorskip("datasets", reason="the extra datasets is not installed")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])}
    )
    cells = [{"bytes": png(pixels(i, 12, 10)), "path": None} for i in range(6)]
    return datasets.Dataset.from_dict({"image": cells, "label": [i % 2 for i in range(6)]}, features=features)


def test_hugging_face_folder(tmp_path: Path) -> None:
    saved(tmp_path).save_to_disk(tmp_path / "hf")
    source = open_source(tmp_path / "hf", labels=True)
    assert len(source) == 6 and source.class_names == ("ant", "bee")
    for i in range(6):
        same(source, i, i)
    assert [source.label(i) for i in range(6)] == [0, 1] * 3
    copy = pickle.loads(pickle.dumps(source))
    assert torch.equal(copy.read(4), source.read(4))
    assert open_source(tmp_path / "hf").labels is None


def test_hugging_face_splits(tmp_path: Path) -> None:
    rows = saved(tmp_path)
    from datasets import DatasetDict

    DatasetDict(train=rows.select([3, 1]), test=rows.select([5])).save_to_disk(tmp_path / "hf")
    same(open_source(tmp_path / "hf"), 0, 3)
    same(open_source(f"hf:{tmp_path / 'hf'}:test"), 0, 5)
    with pytest.raises(DataError, match="did you mean 'train'"):
        open_source(f"hf:{tmp_path / 'hf'}:trian")
    with pytest.raises(DataError, match="cannot open the data set nobody/nothing-at-all"):
        open_source("hf:nobody/nothing-at-all")


def test_hugging_face_torn(tmp_path: Path) -> None:
    saved(tmp_path).save_to_disk(tmp_path / "hf")
    for arrow in (tmp_path / "hf").glob("*.arrow"):
        arrow.write_bytes(arrow.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot open the data set"):
        open_source(tmp_path / "hf")


@pytest.mark.parametrize("layout", ["contig", "separate", "pages"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_of_many_bands(tmp_path: Path, layout: str, dtype: str) -> None:
    tifffile = pytest.importorskip("tifffile", reason="the extra tiff is not installed")
    scale = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    values = (np.random.default_rng(0).random((7, 9, 6)) * scale).astype(dtype)
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        if layout == "pages":
            for band in values:
                file.write(band, photometric="minisblack", contiguous=False)
        else:
            stored = values.transpose(1, 2, 0) if layout == "contig" else values
            file.write(stored, photometric="minisblack", planarconfig=layout)
    source = open_source(tmp_path, channels=7)
    read = source.read(0)
    assert read.shape == (7, 9, 6) and read.dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
    expected = values if dtype != "uint16" else values / 65535
    np.testing.assert_allclose(read.numpy(), expected, rtol=1e-6)
    assert open_source(tmp_path).channels == (1 if layout == "pages" else 7)
    with pytest.raises(DataError, match="expected 5"):
        open_source(tmp_path, channels=5).read(0)
    with pytest.raises(DataError, match="safe limit of 53"):
        open_source(tmp_path, channels=7, max_pixels=53).read(0)


def test_tiff_of_many_bands_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "x.tif")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"anyjepa\[tiff\]"):
        open_source(tmp_path, channels=7).read(0)
    assert open_source(tmp_path).read(0).shape == (1, 4, 4)


def test_transparency_is_a_channel_when_asked_for(tmp_path: Path) -> None:
    array = pixels(0, 5, 6, 4)
    Image.fromarray(array, "RGBA").save(tmp_path / "x.png")
    np.testing.assert_array_equal(open_source(tmp_path, channels=4).read(0).permute(1, 2, 0).numpy(), array)
    data = ImageDataset.open(tmp_path, ImageConfig(size=4, channels=4))
    assert data.draw(0, [0], 0).shape == (1, 4, 4, 4)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_pixel_limit_can_be_raised_and_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(png(pixels(0, 30, 20)))
    np.save(tmp_path / "x.npy", np.zeros((2, 30, 20), dtype=np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for place in (tmp_path, tmp_path / "x.npy"):
        assert open_source(place, max_pixels=600).read(0).shape[1:] == (30, 20)
    for place in (tmp_path, tmp_path / "x.npy"):
        with pytest.raises(DataError, match="safe limit of 599"):
            open_source(place, max_pixels=599).read(0)
    with pytest.raises(ConfigError, match="max_pixels"):
        open_source(tmp_path, max_pixels=0)


def npz(path: Path, header: str, body: bytes) -> Path:
    text = header.encode().ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content)
    return path


def test_arrays_that_claim_more_than_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 100000, 100000), }"
    with pytest.raises(DataError, match=r"claims 10+ bytes and the archive has 16"):
        open_source(npz(tmp_path / "x.npz", huge, b"\0" * 16))
    raw = io.BytesIO()
    np.save(raw, np.zeros((2, 4, 4), dtype=np.uint8))
    (tmp_path / "x.npy").write_bytes(raw.getvalue().replace(b"(2, 4, 4)", b"(2, 9, 9999999)"))
    with pytest.raises(DataError, match=r"cannot read.*x\.npy"):
        open_source(tmp_path / "x.npy")
    np.savez_compressed(tmp_path / "bomb.npz", images=np.zeros((300, 1000, 1000), dtype=np.uint8))
    with pytest.raises(DataError, match=r"unpack to 300000000 bytes"):
        open_source(tmp_path / "bomb.npz")
    np.savez(tmp_path / "object.npz", images=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="never unpickled"):
        open_source(tmp_path / "object.npz")


def test_postscript_is_never_opened(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.png")
    Image.open(tmp_path / "x.png").close()  # Pillow alone would
    with pytest.raises(DataError, match="cannot identify image file"):
        open_source(tmp_path).read(0)
    with pytest.raises(DataError, match="cannot identify image file"):
        open_source(tmp_path, channels=4).read(0)
