"""Fine-tuning: which parameter belongs to which block, what is left alone, and that it learns what frozen features lack."""

import copy

import numpy as np
import pytest
import torch

from anyjepa.data import ImageConfig, ImageDataset
from anyjepa.errors import ConfigError
from anyjepa.evaluation.finetune import FinetuneConfig, _groups, fit_finetune, parameter_levels
from anyjepa.evaluation.samples import Samples
from anyjepa.registry import create

TINY = dict(dim=16, depth=3, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2, patch_size=2)


@pytest.fixture(scope="module")
def method():
    return create("ijepa", image_size=[8, 8], channels=1, masks=dict(target_scale=[0.15, 0.3]), **TINY).eval()


def stripes(folder, n: int) -> tuple[Samples, np.ndarray]:
    """Horizontal or vertical stripes at a random phase: the mean of the pixels says nothing."""
    draw, labels = np.random.default_rng(0), np.arange(n) % 2
    images = np.zeros((n, 8, 8), np.uint8)
    for i, label in enumerate(labels):
        line = np.tile(draw.permutation([255, 0]), 4)
        images[i] = line[None] if label else line[:, None]
    np.savez(folder / "stripes.npz", images=images, labels=labels)
    config = ImageConfig(size=8, crop_scale=(0.6, 1.0))
    dataset = ImageDataset.open(folder / "stripes.npz", config, labels=True)
    return Samples(dataset, None, np.arange(n), None), labels


@pytest.mark.parametrize("encoder", ["target", "context"])
def test_parameters_belong_to_the_block_that_first_uses_them(method, encoder):
    model = copy.deepcopy(method).requires_grad_(True)
    levels = parameter_levels(model, torch.randn(1, 1, 8, 8), encoder)
    module = model.target_encoder if encoder == "target" else model.context_encoder
    names = {id(p): name for name, p in model.named_parameters()}
    for i, block in enumerate(module.blocks):
        assert {levels[names[id(p)]] for p in block.parameters()} == {i}
    assert levels[names[id(module.tokenizer.proj.weight)]] == 0
    assert levels[names[id(module.norm.weight)]] == 2
    assert not any(name.startswith("predictor") for name in levels)


def test_lower_blocks_learn_more_slowly(method):
    model, head = copy.deepcopy(method).requires_grad_(True), torch.nn.Linear(16, 2)
    levels = parameter_levels(model, torch.randn(1, 1, 8, 8), "target")
    groups = _groups(model, head, levels, FinetuneConfig(lr=0.1, layer_decay=0.5))
    rates = {id(p): group["share"] for group in groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    blocks = model.target_encoder.blocks
    assert [rates[id(b.mlp.fc1.weight)] for b in blocks] == pytest.approx([0.025, 0.05, 0.1])
    assert rates[id(head.weight)] == 0.1 and decays[id(head.weight)] > 0
    assert decays[id(blocks[0].mlp.fc1.bias)] == 0 and decays[id(head.bias)] == 0


def test_it_learns_and_leaves_the_method_as_it_was(method, tmp_path):
    samples, labels = stripes(tmp_path, 160)
    before = copy.deepcopy(method.state_dict())
    state, train, test = torch.get_rng_state(), np.arange(100), np.arange(100, 160)
    calls = []
    config = FinetuneConfig(lr=5e-3, min_steps=60, max_steps=60, batch_size=32, layer_decay=0.8)
    tuned = fit_finetune(
        method, samples, train, labels[train], config=config, progress=lambda *done: calls.append(done)
    )
    accuracy = (tuned.predict(samples, test) == labels[test]).mean()
    print(f"accuracy {accuracy:.3f}")
    assert accuracy > 0.9 and calls[-1] == (60, 60)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert torch.equal(state, torch.get_rng_state()) and not method.training
    assert not any(p.requires_grad for p in method.target_encoder.parameters())
    changed = {n for n, p in tuned.method.named_parameters() if not torch.equal(p, before[n])}
    assert any("target" in n for n in changed) and not any(n.startswith("predictor") for n in changed)


@pytest.mark.parametrize("options", [dict(lr=0.0), dict(layer_decay=0.0), dict(epochs=0)])
def test_impossible_settings_are_refused(options):
    with pytest.raises(ConfigError):
        FinetuneConfig(**options)


def test_steps_follow_the_number_of_labels():
    config = FinetuneConfig()
    assert config.steps(10) == 200 and config.steps(640) == 300 and config.steps(10**6) == 2000
