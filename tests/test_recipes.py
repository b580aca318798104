"""Every recipe is a valid config whose model fits its images; the header of each names its command."""

from pathlib import Path

import pytest
import torch

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
    size = config.images.size
    height, width = (size, size) if isinstance(size, int) else size
    with torch.device("meta"):
        model = config.model.fit((config.images.channels or 3, height, width))
        assert create(config.method, model).input_shape() == (config.images.channels or 3, height, width)


def test_every_method_that_pretrain_can_feed_has_a_recipe():
    images = {name for name in names() if entry(name).modality == "images"}
    assert {path.stem.split("_")[0] for path in RECIPES} == images
