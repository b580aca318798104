"""What is exported can be probed and embedded like the run it came from, with the run's normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trained import SHAPE, train

from anyjepa import embed, export, probe


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("use")
    train(folder, "ijepa")
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (40, *SHAPE[1:], 3), dtype=np.uint8)
    np.savez(folder / "labelled.npz", images=images, labels=np.arange(40) % 2)
    return folder


def vectors(run: Path | str, place: Path, out: str) -> np.ndarray:
    embed(run, place / "labelled.npz", place / out)
    return np.load(place / out)


@pytest.mark.parametrize("layout", ["anyjepa", "hf", "timm"])
def test_an_export_is_embedded_and_probed_like_the_run(place: Path, layout: str) -> None:
    export(place / "ijepa", layout, place / layout)
    mine, other = (vectors(place / name, place, f"{layout}-{name}.npy") for name in ("ijepa", layout))
    np.testing.assert_allclose(mine, other, atol=1e-5)
    scores = [
        probe(place / name, place / "labelled.npz", baselines=()).row("pretrained").score("knn").values
        for name in ("ijepa", layout)
    ]
    assert scores[0] == scores[1]


def test_a_name_on_the_hub_is_probed_without_a_place_for_the_result(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    export(place / "ijepa", "hf", place / "fetched", overwrite=True)
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **options: str(place / "fetched"))
    monkeypatch.chdir(place)
    result = probe("user/model", place / "labelled.npz", out=place / "result.json")
    assert (place / "result.json").is_file() and not (place / "user").exists()
    assert {row.features for row in result.rows} == {"pretrained", "untrained", "raw"}
