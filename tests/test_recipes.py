"""Every recipe is a valid config whose model fits its images; the header of each names its command."""

from pathlib import Path

import pytest
import torch

from anyjepa.data.modalities import MODALITIES
from anyjepa.registry import create, entry, names
from anyjepa.training import RunConfig

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_builds_its_model(path, tmp_path):
    text = path.read_text()
    assert f"--config recipes/{path.name}" in text.split("\nmethod:")[0]
    with_data = tmp_path / "recipe.yaml"
    with_data.write_text(text + "\ndata: somewhere\n")
    config = RunConfig.load(with_data)
    if config.modality.name != "images":
        model = config.model
        if hasattr(model, "with_channels"):
            # Electrodes come from the data.
            model = model.with_channels(("C3", "C4"), [[-0.07, 0.0, 0.06], [0.07, 0.0, 0.06]])
        config.modality.suit(config.reading, create(config.method, model).input_shape())
        return
    size = config.reading.size
    height, width = (size, size) if isinstance(size, int) else size
    with torch.device("meta"):
        model = config.model.fit((config.reading.channels or 3, height, width))
        assert create(config.method, model).input_shape() == (config.reading.channels or 3, height, width)


def test_every_method_has_a_recipe():
    fed = {name for name in names() if entry(name).modality in MODALITIES}
    assert {path.stem.split("_")[0] for path in RECIPES} == fed
