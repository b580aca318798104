"""Batches of images: pure, normalised, tolerant of a few broken files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import png

from anyjepa.data import ImageConfig, ImageDataset, inspect, load_all, open_source
from anyjepa.data.transforms import crop_resize, flips
from anyjepa.errors import ConfigError, DataError
from anyjepa.views.boxes import crop_boxes

IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)


def test_draw_is_crop_then_imagenet_normalisation(mixed: Path) -> None:
    data = ImageDataset(open_source(mixed), size=24)
    index = np.array([3, 0, 2])
    images = [data.source.read(i) for i in index.tolist()]
    boxes = crop_boxes(7, 5, index, [x.shape[1] for x in images], [x.shape[2] for x in images])
    expected = (crop_resize(images, boxes, (24, 24)) / 255 - IMAGENET[0]) / IMAGENET[1]
    torch.testing.assert_close(data.draw(5, index, 7), expected, rtol=0, atol=1e-5)
    assert data.shape == (3, 24, 24)


def test_draw_of_a_sample_does_not_depend_on_the_batch(mixed: Path) -> None:
    data = ImageDataset(open_source(mixed), ImageConfig(flip=True), size=(20, 24))
    together = data.draw(1, range(24), 0)
    assert together.shape == (24, 3, 20, 24)
    assert torch.equal(torch.cat([data.draw(1, [i], 0) for i in range(24)]), together)
    assert torch.equal(data.draw(1, torch.arange(24), 0), together)
    for other in (data.draw(2, range(24), 0), data.draw(1, range(24), 1)):
        assert not torch.equal(other, together)


def test_flip_mirrors_the_drawn_half_only(mixed: Path) -> None:
    plain, flipped = (
        ImageDataset(open_source(mixed), ImageConfig(flip=f), size=16).draw(4, range(24), 0)
        for f in (False, True)
    )
    mirrored = torch.from_numpy(flips(0, 4, np.arange(24)))
    assert 0 < mirrored.sum() < 24
    assert torch.equal(flipped[mirrored], plain[mirrored].flip(-1)) and torch.equal(
        flipped[~mirrored], plain[~mirrored]
    )


def test_evaluation_images_are_the_whole_normalised_image() -> None:
    data = ImageDataset(open_source("digits"), size=8)
    expected = (data.source.read(3).float() / 255 - 0.5) / 0.5
    torch.testing.assert_close(data.evaluation([3])[0], expected, rtol=0, atol=1e-6)
    own = ImageDataset(open_source("digits"), ImageConfig(mean=(0.0,), std=(1.0,)), size=8)
    torch.testing.assert_close(own.evaluation([3])[0], data.source.read(3).float() / 255)


def test_load_all_gives_everything_once_in_order() -> None:
    data = ImageDataset.open("digits:test", ImageConfig(size=8), labels=True)
    parts = list(load_all(data, batch_size=200))
    assert [len(part.index) for part in parts] == [200, 200, 50]
    assert torch.equal(torch.cat([part.index for part in parts]), torch.arange(450))
    np.testing.assert_array_equal(torch.cat([part.labels for part in parts]), data.source.labels)
    torch.testing.assert_close(parts[2].inputs, data.evaluation(range(400, 450)))
    chosen = next(load_all(ImageDataset(open_source("digits"), size=8), [5, 1]))
    assert chosen.index.tolist() == [5, 1] and chosen.labels is None


def test_broken_images_are_replaced_by_the_next_and_reported_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "cat" / "03.png").write_bytes(b"broken")
    (folder / "dog" / "11.png").write_bytes(png(np.zeros((9, 9, 3), dtype=np.uint8))[:40])
    data = ImageDataset(open_source(folder, labels=True), ImageConfig(max_broken=0.2), size=8)
    with caplog.at_level(logging.WARNING, "anyjepa"):
        first = data.evaluation(range(12))
        again = data.evaluation(range(12))
    assert torch.equal(first, again)
    assert torch.equal(first[3], first[4]) and torch.equal(first[11], first[0])
    assert len(caplog.records) == 2 and "03.png" in caplog.text and "11.png" in caplog.text
    (loaded,) = load_all(data)
    assert loaded.index.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert loaded.labels is not None and loaded.labels.tolist() == [0] * 5 + [1] * 5


def test_too_many_broken_images_stop(folder: Path) -> None:
    for name in ("cat/01.png", "dog/08.png"):
        (folder / name).write_bytes(b"broken")
    data = ImageDataset(open_source(folder), size=8)  # one of twelve is within 10 %, two are not
    assert torch.equal(data.evaluation([1]), data.evaluation([2]))
    with pytest.raises(DataError, match=r"2 of 12 images cannot be read, more than max_broken=10%.*08\.png"):
        data.evaluation([8])
    for file in folder.rglob("*.png"):
        file.write_bytes(b"broken")
    with pytest.raises(DataError, match="none of the 12"):
        ImageDataset(open_source(folder), ImageConfig(max_broken=1.0), size=8).evaluation([0])
    with pytest.raises(DataError, match="none of the 12"):
        inspect(folder)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"size": 0}, "size"),
        ({"crop_scale": (0.5, 0.3)}, "crop_scale"),
        ({"crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"crop_aspect": (2.0, 1.0)}, "crop_aspect"),
        ({"max_broken": 1.5}, "max_broken"),
        ({"std": (0.0,)}, "std"),
    ],
)
def test_impossible_settings(fields: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ImageConfig(**fields)


def test_settings_that_do_not_fit_the_source() -> None:
    source = open_source("digits")
    with pytest.raises(ConfigError, match="size is not set"):
        ImageDataset(source)
    with pytest.raises(ConfigError, match=r"mean has 3 values.*1 channels"):
        ImageDataset(source, ImageConfig(mean=(0.5, 0.5, 0.5)), size=8)
    with pytest.raises(ConfigError, match="channels=3"):
        ImageDataset(source, ImageConfig(channels=3), size=8)


def test_report_counts_what_is_there(folder: Path) -> None:
    (folder / "cat" / "00.png").write_bytes(b"broken")
    (folder / "dog" / "11.png").write_bytes(png(np.full((30, 20, 3), 51, dtype=np.uint8)))
    report = inspect(open_source(folder, labels=True))
    assert (report.count, report.looked_at, report.channels, report.classes) == (12, 12, 3, 2)
    assert report.sizes == (((12, 10), 10), ((30, 20), 1))
    assert (report.smallest, report.largest, report.shorter_side) == ((12, 10), (30, 20), 10)
    assert len(report.broken) == 1 and report.broken[0].name == "cat/00.png"
    assert report.default_size == (10, 10)
    text = str(report)
    for part in ("12 images, colour, 2 classes", "12 to 30 pixels high", "broken: 1"):
        assert part in text
    kept = [open_source(folder).read(i).double().flatten(1) / 255 for i in range(1, 12)]
    values = torch.cat(kept, dim=1)
    np.testing.assert_allclose(report.mean, values.mean(1), atol=1e-9)
    np.testing.assert_allclose(report.std, values.std(1, correction=0), atol=1e-9)


def test_report_on_a_part_and_on_odd_values(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((500, 300, 9)).astype(np.float32) * 90)
    report = inspect(tmp_path / "x.npy", sample=20)
    assert report.looked_at == 20 and report.count == 500
    assert report.default_size == (9, 9)
    assert "attention" in str(report) and "20 of them" in str(report) and "no labels" in str(report)
    assert inspect("digits").default_size == (8, 8) and "attention" not in str(inspect("digits"))
    np.save(tmp_path / "large.npy", np.zeros((2, 300, 300), dtype=np.uint8))
    assert inspect(tmp_path / "large.npy").default_size == (224, 224)
