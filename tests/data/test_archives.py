"""Tar shards and zip archives: read at random, in order, never extracted, and nothing dangerous is followed."""

from __future__ import annotations

import io
import json
import logging
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import pixels, png

from anyjepa.data import open_source
from anyjepa.data.archives import safe_name
from anyjepa.data.tar_index import expand
from anyjepa.errors import DataError


def add(archive: tarfile.TarFile, name: str, content: bytes, **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(content))


def write_shard(path: Path, first: int, count: int, label: str = "cls") -> None:
    with tarfile.open(path, "w") as archive:
        for i in range(first, first + count):
            add(archive, f"{i:04d}.txt", b"a caption")
            add(archive, f"{i:04d}.png", png(pixels(i, 9, 7)))
            content = str(i % 3) if label == "cls" else json.dumps({"label": f"c{i % 3}", "id": i})
            add(archive, f"{i:04d}.{label}", content.encode())


def rows(source) -> list[np.ndarray]:
    return [source.read(i).permute(1, 2, 0).numpy() for i in range(len(source))]


@pytest.mark.parametrize("label", ["cls", "json"])
def test_shards_by_folder_pattern_and_file_are_the_same_images(tmp_path: Path, label: str) -> None:
    for shard in range(3):
        write_shard(tmp_path / f"s-{shard:02d}.tar", 4 * shard, 4, label)
    for place in (tmp_path, tmp_path / "s-{00..02}.tar"):
        source = open_source(place, labels=True)
        assert len(source) == 12 and source.identity(5) == "s-01.tar/0005.png"
        for i, image in enumerate(rows(source)):
            np.testing.assert_array_equal(image, pixels(i, 9, 7))
        assert [source.label(i) for i in range(12)] == [i % 3 for i in range(12)]
        assert source.class_names == (None if label == "cls" else ("c0", "c1", "c2"))
    one = open_source(tmp_path / "s-01.tar")
    assert len(one) == 4 and one.labels is None
    assert {path.name for path in tmp_path.iterdir()} == {f"s-{i:02d}.tar" for i in range(3)}, (
        "nothing is extracted"
    )
    with pytest.raises(DataError, match=r"s-03\.tar.*No such file"):
        open_source(tmp_path / "s-{00..03}.tar")


def test_labels_are_not_read_unless_asked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "a.png", png(pixels(0, 8, 8)))
        add(archive, "b.png", png(pixels(1, 8, 8)))
        add(archive, "b.cls", b"\xff\xfe")
    assert len(open_source(tmp_path / "x.tar")) == 2
    with pytest.raises(DataError, match=r"a\.png has no \.cls or \.json"):
        open_source(tmp_path / "x.tar", labels=True)


def test_the_image_of_a_sample_can_be_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "./a.left.png", png(pixels(0, 8, 8)))
        add(archive, "./a.right.png", png(pixels(1, 8, 8)))
        add(archive, "./a.json", b'{"species": 4}')
    source = open_source(tmp_path / "x.tar", image_column="right.png", labels=True, label_column="species")
    np.testing.assert_array_equal(rows(source)[0], pixels(1, 8, 8))
    assert source.label(0) == 4 and len(source) == 1
    assert len(open_source(tmp_path / "x.tar")) == 2, "dots in a name lose no image"
    with pytest.raises(DataError, match="label_column"):
        open_source(tmp_path / "x.tar", labels=True)
    with pytest.raises(DataError, match="ending 'up"):
        open_source(tmp_path / "x.tar", image_column="up.png")


def test_dangerous_members_are_refused_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(pixels(5, 8, 8)))
    image = png(pixels(0, 8, 8))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "good.png", image)
        add(archive, "/absolute.png", image)
        add(archive, "../out.png", image)
        add(archive, "a/../../out.png", image)
        add(archive, "link.png", b"", type=tarfile.SYMTYPE, linkname=str(secret))
        add(archive, "hard.png", b"", type=tarfile.LNKTYPE, linkname="good.png")
        add(archive, "fifo.png", b"", type=tarfile.FIFOTYPE)
        add(archive, "null.png", b"", type=tarfile.CHRTYPE)
        add(archive, "._good.png", b"resource fork")
    with caplog.at_level(logging.WARNING, "anyjepa"):
        source = open_source(tmp_path / "x.tar")
    assert len(source) == 1 and source.identity(0) == "x.tar/good.png"
    assert source.refused == {
        "links": 2,
        "devices, pipes or sparse files": 2,
        "names that lead out of the archive": 3,
    }
    assert "2 links" in caplog.text and not (tmp_path.parent / "out.png").exists()


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a\\..\\b", "C:a", "a\0b", "a\nb"])
def test_names_that_lead_out(name: str) -> None:
    assert not safe_name(name) and safe_name("a/b c/ü.png")


def test_torn_and_compressed_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "x.tar", 0, 3)
    whole = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "torn.tar").write_bytes(whole[:2200])
    with pytest.raises(DataError, match=r"torn\.tar"):
        open_source(tmp_path / "torn.tar")
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        add(archive, "a.png", png(pixels(0, 8, 8)))
    with pytest.raises(DataError, match=r"packed\.tar is not a whole \.tar.*compressed"):
        open_source(tmp_path / "packed.tar")
    (tmp_path / "text.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(DataError, match=r"text\.tar is not a whole"):
        open_source(tmp_path / "text.tar")
    source = open_source(tmp_path / "x.tar")
    (tmp_path / "x.tar").write_bytes(whole[:1000])
    with pytest.raises(DataError, match=r"x\.tar/0002\.png.*declares"):
        source.read(2)


def test_brace_patterns() -> None:
    assert [p.name for p in expand("a-{08..11}.tar")] == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert [p.name for p in expand("{0..1}-{2..3}.tar")] == ["0-2.tar", "0-3.tar", "1-2.tar", "1-3.tar"]
    with pytest.raises(DataError, match="range of shards"):
        expand("a-{3..1}.tar")
    with pytest.raises(DataError, match="range of shards"):
        expand("a-{0..999999999}.tar")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_archives(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        for i in range(6):
            archive.writestr(f"{['cat', 'dog'][i % 2]}/{i}.png", png(pixels(i, 9, 7)))
        archive.writestr("../out.png", png(pixels(9, 9, 7)))
        archive.writestr("notes.txt", "hello")
    source = open_source(tmp_path / "x.zip", labels=True)
    assert len(source) == 6 and source.class_names == ("cat", "dog")
    for i, image in enumerate(rows(source)):
        np.testing.assert_array_equal(image, pixels(i, 9, 7))
    assert source.refused == {"names that lead out of the archive": 1}
    copy = pickle.loads(pickle.dumps(source))
    assert torch.equal(copy.read(3), source.read(3))


def test_a_zip_member_that_unpacks_to_more_than_it_declares(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\0" * 1_000_000)
    raw = (tmp_path / "x.zip").read_bytes()
    lie = raw.replace((1_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
    assert lie != raw
    (tmp_path / "x.zip").write_bytes(lie)
    with pytest.raises(DataError, match=r"a\.png.*1000 bytes"):
        open_source(tmp_path / "x.zip").read(0)
