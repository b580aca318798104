"""The encoder in Hugging Face transformers computes the same tokens, in both directions."""

import logging
import sys
from pathlib import Path

import pytest
import torch

from anyjepa import create
from anyjepa.contract import Method
from anyjepa.errors import CheckpointError, ConfigError, MissingExtraError
from anyjepa.hub.transformers import from_transformers, to_transformers

transformers = pytest.importorskip("transformers")

SIZES = {
    "square": dict(image_size=(32, 32), patch_size=4, channels=3, dim=32, depth=2, heads=2),
    "wide": dict(image_size=(30, 50), patch_size=5, channels=1, dim=60, depth=3, heads=5, mlp_ratio=3.5),
}
REST = dict(predictor_width=20, predictor_depth=1, predictor_heads=1, masks={"min_keep": 1})


@pytest.fixture(params=SIZES)
def method(request: pytest.FixtureRequest) -> Method:
    """A model with random weights everywhere and two encoders that differ."""
    made = create("ijepa", **SIZES[request.param], **REST).eval()
    return randomise(made)


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def images(method: Method) -> torch.Tensor:
    return torch.randn(2, *method.input_shape(), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def assert_same_tokens(model, method: Method, encoder: str = "target") -> None:
    x = images(method)
    theirs, ours = model(x).last_hidden_state, method.encode(x, encoder=encoder).tokens
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize("encoder", ["target", "context"])
def test_export_computes_the_same(method: Method, encoder: str) -> None:
    model = to_transformers(method, encoder=encoder)
    assert isinstance(model, transformers.IJepaModel) and not model.training
    assert_same_tokens(model, method, encoder)


def test_export_has_tensors_of_its_own(method: Method) -> None:
    model = to_transformers(method)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    randomise(model)
    for name, tensor in method.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("pooler", [False, True])
def test_import_of_random_weights_computes_the_same(pooler: bool) -> None:
    config = transformers.IJepaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, image_size=28,
        patch_size=4, num_channels=2, layer_norm_eps=1e-6,
    )  # fmt: skip
    model = randomise(transformers.IJepaModel(config, add_pooling_layer=pooler, use_mask_token=True)).eval()
    method = from_transformers(model, **REST)
    assert method.config.positions == "learned" and method.config.heads == 4
    assert (method.config.mlp_ratio, method.input_shape()) == (3.0, (2, 28, 28))
    assert_same_tokens(model, method, "target")
    assert_same_tokens(model, method, "context")


def test_round_trip_through_a_directory(tmp_path: Path, method: Method) -> None:
    to_transformers(method).save_pretrained(tmp_path)
    for source in (tmp_path, str(tmp_path)):
        back = from_transformers(source, **REST)
        assert back.config.positions == "sincos" and not back.training
        for field in ("image_size", "patch_size", "channels", "dim", "depth", "heads", "mlp_ratio"):
            assert getattr(back.config, field) == getattr(method.config, field)
        x = images(method)
        for encoder in ("target", "context"):  # the exported encoder fills both
            torch.testing.assert_close(
                back.encode(x, encoder=encoder).tokens, method.encode(x).tokens, rtol=0, atol=0
            )


def test_learned_positions_survive() -> None:
    method = randomise(create("ijepa", **SIZES["square"], **REST, positions="learned").eval())
    model = to_transformers(method)
    assert_same_tokens(model, method)
    back = from_transformers(model, **REST)
    assert torch.equal(
        back.state_dict()["target.copy.positions.table"], method.state_dict()["target.copy.positions.table"]
    )


@pytest.mark.parametrize("older", [False, True])
def test_names_of_both_generations_load(tmp_path: Path, older: bool) -> None:
    """Published ports carry the names of transformers 4."""
    from safetensors.torch import save_file

    method = randomise(create("ijepa", **SIZES["square"], **REST).eval())
    model = to_transformers(method)
    model.config.save_pretrained(tmp_path)
    tensors = model.state_dict()
    assert "layers.0.attention.q_proj.weight" in tensors
    if older:
        swaps = {"layers.": "encoder.layer.", "attention.o_proj": "attention.output.dense"}
        swaps |= {
            "attention.q_proj": "attention.attention.query",
            "attention.k_proj": "attention.attention.key",
        }
        swaps |= {"attention.v_proj": "attention.attention.value", "mlp.fc1": "intermediate.dense"}
        swaps |= {"mlp.fc2": "output.dense"}
        for new, old in swaps.items():
            tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    back = from_transformers(tmp_path, **REST)
    x = images(method)
    torch.testing.assert_close(back.encode(x).tokens, method.encode(x).tokens, rtol=0, atol=0)


def test_what_is_not_the_encoder_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    small |= dict(image_size=28, patch_size=4)
    for change in (dict(hidden_act="relu"), dict(qkv_bias=False)):
        model = transformers.IJepaModel(transformers.IJepaConfig(**small, **change), add_pooling_layer=False)
        with pytest.raises(CheckpointError, match="I-JEPA has hidden_act=gelu and qkv_bias=True"):
            from_transformers(model, **REST)
    with pytest.raises(CheckpointError, match="expected a transformers IJepaModel, got Linear"):
        from_transformers(torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match="holds no IJepaModel as safetensors"):
        from_transformers(tmp_path)
    with pytest.raises(ConfigError, match="layout has"):
        to_transformers(create("ijepa", **SIZES["square"], **REST, registers=2))
    model = transformers.IJepaModel(transformers.IJepaConfig(**small), add_pooling_layer=False)
    with caplog.at_level(logging.WARNING):
        from_transformers(model, **REST)
    assert "layer_norm_eps 1e-12 becomes 1e-06" in caplog.text


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    model = to_transformers(create("ijepa", **SIZES["square"], **REST))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds no IJepaModel as safetensors"):
        from_transformers(tmp_path)


def test_incomplete_weights_are_refused(tmp_path: Path) -> None:
    """transformers alone would go on with random weights in their place."""
    from safetensors.torch import load_file, save_file

    to_transformers(create("ijepa", **SIZES["square"], **REST)).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 tensors missing, e.g. layernorm.weight"):
        from_transformers(tmp_path, **REST)


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anyjepa\[hf\]'"):
        to_transformers(create("ijepa", **SIZES["square"], **REST))
