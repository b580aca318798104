"""The data report: copies, images shared with other data, broken files, and the bounds of the pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import pixels, png
from PIL import Image

from anyjepa import cli
from anyjepa.data import inspect, open_source
from anyjepa.data.broken import Broken, explain
from anyjepa.data.look import look


def test_copies_are_found_however_they_are_stored(folder: Path) -> None:
    (folder / "cat" / "copy.png").write_bytes((folder / "dog" / "07.png").read_bytes())
    Image.fromarray(pixels(2, 12, 10)).save(folder / "other.bmp")
    Image.fromarray(pixels(2, 12, 10).reshape(10, 12, 3)).save(folder / "same-bytes-other-shape.png")
    report = inspect(folder)
    assert report.repeated.count == 2
    assert report.repeated.examples == (("dog/07.png", "cat/copy.png"), ("other.bmp", "cat/02.png"))
    assert "copies: 2 repeat the pixels of another one; dog/07.png = cat/copy.png" in str(report)


def test_leakage_between_two_sources(folder: Path, tmp_path: Path) -> None:
    cells = [png(pixels(i, 12, 10)) for i in (4, 30, 7, 31)]
    pq.write_table(pa.table({"image": cells}), tmp_path / "test.parquet")
    report = inspect(folder, against=tmp_path / "test.parquet")
    assert report.shared is not None and report.shared.count == 2
    assert report.shared.examples == (
        ("cat/04.png", "test.parquet row 0"),
        ("dog/07.png", "test.parquet row 2"),
    )
    assert report.other_looked_at == (4, 4)
    part = inspect(folder, 6, against=tmp_path / "test.parquet")
    assert part.looked_at == 6 and part.shared.count == 1
    assert "shared: at least 1 are also in the other data (looked at 6 of 12 and 4 of 4)" in str(part)
    assert inspect(folder).shared is None and "shared" not in str(inspect(folder))


def test_time_ends_the_pass_at_images_from_all_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("anyjepa.data.look.time.monotonic", lambda: float(next(clock)))
    source = open_source("digits")
    report = inspect(source, None, seconds=99)
    assert report.looked_at == 100 and report.count == 1797
    assert "looked at 100 of 1,797" in str(report)
    seen = look(source, [5, 1], None)
    assert seen.rows == [5, 1]


def test_statistics_of_floats_and_bytes_agree(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "bytes.npy", stored)
    np.save(tmp_path / "floats.npy", (stored / 255).astype(np.float32))
    whole, floats = inspect(tmp_path / "bytes.npy"), inspect(tmp_path / "floats.npy")
    np.testing.assert_allclose(whole.mean, (stored / 255).mean((0, 1, 2)), atol=1e-9)
    np.testing.assert_allclose(whole.std, (stored / 255).std((0, 1, 2)), atol=1e-9)
    assert whole.values == (stored.min() / 255, stored.max() / 255)
    np.testing.assert_allclose(whole.mean + whole.std, floats.mean + floats.std, atol=1e-6)


def test_broken_images_as_lines(folder: Path) -> None:
    (folder / "cat" / "01.png").write_bytes(b"broken")
    source = open_source(folder)
    first, second = explain(source, [0, 1])
    assert first == Broken("cat/00.png", "could not be read before, can be read now")
    assert second.name == "cat/01.png" and "cannot identify" in second.reason
    assert str(Broken("a\tb", "x\ny")) == "a b\tx y"
    assert Broken.parse(str(second) + "\n") == second


def test_the_verb(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cat" / "01.png").write_bytes(b"broken")
    (folder / "dog" / "08.png").write_bytes(b"broken")
    assert cli.main(["inspect", str(folder)]) == 0
    assert (
        "broken: 2 of the images looked at" in (told := capsys.readouterr().out) and "--broken-list" in told
    )
    listed = tmp_path / "broken.txt"
    words = [
        "inspect",
        str(folder),
        "--labels",
        "--json",
        "--against",
        str(folder),
        "--broken-list",
        str(listed),
    ]
    assert cli.main(words) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["count"] == 12 and values["classes"] == 2 and values["class_sizes"] == [6, 6]
    assert values["shared"]["count"] == 10 and values["default_size"] == [12, 10]
    assert [line.split("\t")[0] for line in listed.read_text().splitlines()] == ["cat/01.png", "dog/08.png"]
    assert cli.main(["inspect", str(folder / "nothing")]) == 2
    assert cli.main(["inspect", str(folder), "--sample", "0"]) == 2
