"""What a run says about images that cannot be read: before, during and after the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anyjepa.errors import DataError
from anyjepa.pretraining import pretrain, resume
from anyjepa.training import RunConfig

MODEL = dict(size="nano", dim=16, depth=1, heads=2, predictor_width=16, predictor_depth=1, patch_size=1)


def config(data: Path, out: Path, steps: int = 4, **images: object) -> RunConfig:
    return RunConfig.from_mapping(
        dict(
            method="ijepa",
            data=str(data),
            out=str(out),
            model=MODEL | dict(optim=dict(steps=steps)),
            train=dict(batch_size=4, workers=0, log_every=1, checkpoint_every=2, accelerator="cpu"),
            images=images,
        )
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """20 pictures of 8 x 8, of which number 3 and 11 are broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, picture in enumerate(np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)):
        Image.fromarray(picture).save(folder / f"{i:02d}.png")
    for i in (3, 11):
        (folder / f"{i:02d}.png").write_bytes(b"broken")
    return folder


def names(path: Path) -> list[str]:
    return sorted(line.split("\t")[0] for line in path.read_text().splitlines())


def test_the_run_lists_what_it_skipped(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    pretrain(config(photos, run, steps=6))  # 6 steps of 4 come to each of the 20 images
    assert names(run / "broken.txt") == ["03.png", "11.png"]
    assert "cannot identify" in (run / "broken.txt").read_text()
    assert f"skipped 2 of 20 images that cannot be read; they are listed in {run / 'broken.txt'}" in (
        capsys.readouterr().out
    )
    (photos / "03.png").write_bytes((photos / "04.png").read_bytes())
    pretrain(config(photos, run, steps=6), overwrite=True)
    assert names(run / "broken.txt") == ["11.png"], "the list of the old run is gone"


def test_a_resumed_run_adds_to_the_list(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pretrain(config(photos, run, steps=6))
    (run / "broken.txt").write_text("elsewhere.png\tgone\n")
    for checkpoint in (run / "checkpoints").iterdir():
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    resume(run)
    assert names(run / "broken.txt") == ["03.png", "11.png", "elsewhere.png"]


def test_too_many_stop_before_training(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"2 of the 20 images looked at.*max_broken=5%.*03\.png.*--broken-list"
    ):
        pretrain(config(photos, tmp_path / "run", max_broken=0.05))
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_too_many_stop_during_training_with_a_list(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pretrain(config(photos, run, steps=6))
    for file in list(photos.iterdir())[:12]:
        file.write_bytes(b"broken")
    for checkpoint in (run / "checkpoints").iterdir():
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    with pytest.raises(DataError, match=r"3 of 20 images cannot be read, more than max_broken=10%"):
        resume(run)
    assert len(names(run / "broken.txt")) >= 3
