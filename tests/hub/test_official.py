"""Official I-JEPA checkpoints: written here from plain tensors, read by the library, and back."""

import logging
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anyjepa import create
from anyjepa.contract import Masks, Method
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.official import _warn_licence, load_official, save_official

SMALL = dict(image_size=(24, 24), patch_size=4, channels=3, dim=24, depth=2, heads=3)
SMALL |= dict(predictor_width=12, predictor_depth=2, masks={"min_keep": 1})
HEADS = dict(heads=3, masks={"min_keep": 1})


@pytest.fixture
def method() -> Method:
    """A model whose encoders differ and whose biases and norms are not at their start."""
    made = create("ijepa", **SMALL).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made


def sincos(side: int, dim: int) -> Tensor:
    """The table of the paper's code by its formula, one number at a time: column first, then row."""
    table = torch.zeros(side * side, dim, dtype=torch.float64)
    quarter = dim // 4
    for token in range(side * side):
        for axis, position in enumerate((token % side, token // side)):
            for i in range(quarter):
                angle = torch.tensor(position * 10000.0 ** (-i / quarter), dtype=torch.float64)
                table[token, 2 * quarter * axis + i] = angle.sin()
                table[token, 2 * quarter * axis + quarter + i] = angle.cos()
    return table.float()


def written_by_hand(method: Method) -> dict:
    """The official layout, spelled out here and not through the library's tables."""
    state = method.state_dict()

    def encoder(prefix: str) -> dict[str, Tensor]:
        found = {
            "module.pos_embed": sincos(6, 24)[None],
            "module.patch_embed.proj.weight": state[f"{prefix}tokenizer.proj.weight"].reshape(24, 3, 4, 4),
            "module.patch_embed.proj.bias": state[f"{prefix}tokenizer.proj.bias"],
            "module.norm.weight": state[f"{prefix}norm.weight"],
            "module.norm.bias": state[f"{prefix}norm.bias"],
        }
        return found | blocks(prefix, "module.blocks")

    def blocks(prefix: str, name: str) -> dict[str, Tensor]:
        parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        return {
            f"{name}.{i}.{part}.{leaf}": state[f"{prefix}blocks.{i}.{part}.{leaf}"]
            for i in range(2)
            for part in parts
            for leaf in ("weight", "bias")
        }

    predictor = {
        "module.mask_token": state["predictor.mask_token"],
        "module.predictor_pos_embed": sincos(6, 12)[None],
        "module.predictor_embed.weight": state["predictor.embed.weight"],
        "module.predictor_embed.bias": state["predictor.embed.bias"],
        "module.predictor_norm.weight": state["predictor.norm.weight"],
        "module.predictor_norm.bias": state["predictor.norm.bias"],
        "module.predictor_proj.weight": state["predictor.proj.weight"],
        "module.predictor_proj.bias": state["predictor.proj.bias"],
    }
    return {
        "encoder": encoder("context_encoder."),
        "predictor": predictor | blocks("predictor.", "module.predictor_blocks"),
        "target_encoder": encoder("target.copy."),
        "opt": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "scaler": None,
        "epoch": 7,
        "loss": 0.1,
        "batch_size": 128,
        "world_size": 16,
        "lr": 1e-3,
    }


def outputs(method: Method) -> list[Tensor]:
    """Tokens of both encoders, predictions and loss on fixed images and masks."""
    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    masks = Masks(torch.tensor([[0, 1, 2, 8], [5, 20, 21, 30]]), torch.tensor([[[9, 10], [12, 13]]] * 2))
    with torch.no_grad():
        out = method(images, masks)
        return [method.encode(images, encoder=e).tokens for e in ("target", "context")] + [
            out.context,
            out.predicted,
            out.loss,
        ]


def assert_same(a: Method, b: Method) -> None:
    for one, other in zip(outputs(a), outputs(b), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_checkpoint_written_by_hand_computes_the_same(tmp_path: Path, method: Method) -> None:
    path = tmp_path / "latest.pth.tar"
    torch.save(written_by_hand(method), path)
    loaded = load_official(path, **HEADS)
    assert_same(loaded, method)
    assert not loaded.training
    c = loaded.config
    assert (c.image_size, c.patch_size, c.channels, c.dim, c.depth) == ((24, 24), 4, 3, 24, 2)
    assert (c.mlp_ratio, c.predictor_width, c.predictor_depth, c.positions) == (4.0, 12, 2, "sincos")


def test_our_writer_writes_the_same_tensors(tmp_path: Path, method: Method) -> None:
    path = tmp_path / "ours.pth.tar"
    save_official(method, path)
    content, expected = torch.load(path, weights_only=True), written_by_hand(method)
    for part in ("encoder", "predictor", "target_encoder"):
        assert set(content[part]) == set(expected[part])
        for name, tensor in expected[part].items():
            torch.testing.assert_close(content[part][name], tensor, rtol=0, atol=1e-6)
    assert_same(load_official(path, **HEADS), method)


@pytest.mark.parametrize("prefix", ["", "module._orig_mod.", "_orig_mod."])
def test_prefixes_do_not_matter(tmp_path: Path, method: Method, prefix: str) -> None:
    content = written_by_hand(method)
    for part in ("encoder", "predictor", "target_encoder"):
        content[part] = {prefix + name.removeprefix("module."): t for name, t in content[part].items()}
    torch.save(content, tmp_path / "c.pth")
    assert_same(load_official(tmp_path / "c.pth", **HEADS), method)


@pytest.mark.parametrize(("size", "dim", "heads"), [("tiny", 192, 3), ("small", 384, 6), ("nano", 128, 4)])
def test_heads_follow_from_the_width(tmp_path: Path, size: str, dim: int, heads: int) -> None:
    source = create("ijepa", size=size, image_size=(32, 32), patch_size=4, depth=1, predictor_depth=1)
    save_official(source, tmp_path / "c.pth")
    c = load_official(tmp_path / "c.pth").config
    assert (c.size, c.dim, c.heads, c.predictor_heads) == (size, dim, heads, heads)


def test_mlp_of_the_giant_ratio(tmp_path: Path) -> None:
    source = create("ijepa", **SMALL | dict(dim=44, heads=4, mlp_ratio=48 / 11))
    save_official(source, tmp_path / "c.pth")
    loaded = load_official(tmp_path / "c.pth", heads=4, masks={"min_keep": 1})
    assert loaded.state_dict()["context_encoder.blocks.0.mlp.fc1.weight"].shape == (192, 44)


def test_rectangular_images(tmp_path: Path) -> None:
    source = create("ijepa", **SMALL | dict(image_size=(24, 32))).eval()
    save_official(source, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="48 rows, which is no square grid: pass image_size"):
        load_official(tmp_path / "c.pth", **HEADS)
    loaded = load_official(tmp_path / "c.pth", image_size=(24, 32), **HEADS)
    x = torch.randn(1, 3, 24, 32)
    torch.testing.assert_close(loaded.encode(x).tokens, source.encode(x).tokens, rtol=0, atol=0)


def test_sincos_positions_are_computed_for_another_size(tmp_path: Path, method: Method) -> None:
    save_official(method, tmp_path / "c.pth")
    loaded = load_official(tmp_path / "c.pth", image_size=(32, 40), **HEADS)
    expected = create("ijepa", **SMALL | dict(image_size=(32, 40))).eval()
    expected.load_state_dict(method.state_dict())
    x = torch.randn(1, 3, 32, 40)
    torch.testing.assert_close(loaded.encode(x).tokens, expected.encode(x).tokens, rtol=0, atol=0)


def test_other_positions_become_learned(tmp_path: Path, method: Method) -> None:
    content = written_by_hand(method)
    for part in ("encoder", "target_encoder"):
        content[part]["module.pos_embed"] = torch.randn(1, 36, 24)
    torch.save(content, tmp_path / "c.pth")
    loaded = load_official(tmp_path / "c.pth", **HEADS)
    assert loaded.config.positions == "learned"
    for part, ours in (("encoder", "context_encoder"), ("target_encoder", "target.copy")):
        table = loaded.state_dict()[f"{ours}.positions.table"]
        torch.testing.assert_close(table, content[part]["module.pos_embed"][0], rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="learned for 6x6 tokens"):
        load_official(tmp_path / "c.pth", image_size=(32, 32), **HEADS)
    content["predictor"]["module.predictor_pos_embed"] += 0.1
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="predictor's positions are not"):
        load_official(tmp_path / "c.pth", **HEADS)


def test_half_precision_positions_are_still_sincos(tmp_path: Path, method: Method) -> None:
    content = written_by_hand(method)
    for part in ("encoder", "predictor", "target_encoder"):
        content[part] = {name: tensor.bfloat16() for name, tensor in content[part].items()}
    torch.save(content, tmp_path / "c.pth")
    loaded = load_official(tmp_path / "c.pth", **HEADS)
    assert loaded.config.positions == "sincos"
    assert all(p.dtype == torch.float32 for p in loaded.parameters())


class _Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_file_is_refused_and_runs_nothing(tmp_path: Path, method: Method, zipped: bool) -> None:
    marker = tmp_path / "executed"
    content = written_by_hand(method) | {"opt": _Attack(marker)}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"names the Python object \w+\.mkdir. Nothing is ever unpickled"
    ):
        load_official(tmp_path / "evil.pth", **HEADS)
    assert not marker.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # the attack itself is real
    assert marker.exists()


def test_wrong_files(tmp_path: Path, method: Method) -> None:
    path = tmp_path / "c.pth"
    with pytest.raises(CheckpointError, match="is not there"):
        load_official(path)
    path.write_bytes(b"no checkpoint at all")
    with pytest.raises(CheckpointError, match="is not a torch file"):
        load_official(path)
    torch.save(torch.zeros(3), path)
    with pytest.raises(CheckpointError, match="must hold the parts encoder, predictor, target_encoder"):
        load_official(path)
    content = written_by_hand(method)
    torch.save({"encoder": content["encoder"], "epoch": 1}, path)
    with pytest.raises(CheckpointError, match=r"has no predictor and no target_encoder.*got encoder, epoch"):
        load_official(path)
    torch.save(content["encoder"], path)
    with pytest.raises(CheckpointError, match="no encoder and no predictor and no target_encoder"):
        load_official(path)
    torch.save(content | {"predictor": 3}, path)
    with pytest.raises(CheckpointError, match="predictor must be a dictionary of tensors"):
        load_official(path)


def test_torn_file(tmp_path: Path, method: Method) -> None:
    path = tmp_path / "c.pth"
    torch.save(written_by_hand(method), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="is not a torch file"):
        load_official(path)


def test_wrong_tensors(tmp_path: Path, method: Method) -> None:
    path = tmp_path / "c.pth"

    def refused(change, match: str) -> None:
        content = written_by_hand(method)
        change(content)
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=match):
            load_official(path, **HEADS)

    refused(lambda c: c["encoder"].pop("module.norm.bias"), r"encoder: 1 missing \(norm.bias\), 0 unknown")
    refused(lambda c: c["encoder"].pop("module.blocks.0.norm1.bias"), r"1 missing \(blocks.0.norm1.bias\)")
    refused(lambda c: c["encoder"].update(cls_token=torch.zeros(1)), r"0 missing, 1 unknown \(cls_token\)")
    refused(lambda c: c["encoder"].update(blocks=torch.zeros(1)), "1 unknown")
    wider = torch.zeros(36, 24)
    refused(
        lambda c: c["target_encoder"].update({"module.blocks.1.attn.proj.weight": wider}),
        r"target.copy.blocks.1.attn.proj.weight: expected \(24, 24\), got \(36, 24\)",
    )
    video = torch.zeros(24, 3, 2, 4, 4)
    refused(lambda c: c["encoder"].update({"module.patch_embed.proj.weight": video}), "square patches")
    deeper = {
        "module.blocks.2." + k[16:]: v
        for k, v in written_by_hand(method)["encoder"].items()
        if ".blocks.1." in k
    }
    refused(lambda c: c["target_encoder"].update(deeper), "no place for target.copy.blocks.2")


def test_fields(tmp_path: Path, method: Method) -> None:
    save_official(method, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="number of heads is not in the weights and 24 is no width"):
        load_official(tmp_path / "c.pth")
    with pytest.raises(ConfigError, match="depth cannot be chosen"):
        load_official(tmp_path / "c.pth", depth=3, **HEADS)
    loaded = load_official(tmp_path / "c.pth", target="stopgrad", seed=5, **HEADS)
    assert (loaded.config.target, loaded.config.seed) == ("stopgrad", 5)
    save_official(loaded, tmp_path / "d.pth")
    content = torch.load(tmp_path / "d.pth", weights_only=True)
    for name, tensor in content["encoder"].items():
        assert torch.equal(tensor, content["target_encoder"][name])


def test_what_the_layout_cannot_hold(tmp_path: Path) -> None:
    for change in (dict(registers=1), dict(positions="rotary"), dict(positions="none")):
        with pytest.raises(ConfigError, match="this layout has sincos or learned positions and no registers"):
            save_official(create("ijepa", **SMALL | change), tmp_path / "c.pth")
    with pytest.raises(ConfigError, match="linear patches"):
        save_official(create("ijepa", **SMALL | dict(stem="conv")), tmp_path / "c.pth")


def test_licence_is_named_once(tmp_path: Path, method: Method, caplog: pytest.LogCaptureFixture) -> None:
    save_official(method, tmp_path / "c.pth")
    _warn_licence.cache_clear()
    with caplog.at_level(logging.WARNING):
        load_official(tmp_path / "c.pth", **HEADS)
        load_official(tmp_path / "c.pth", **HEADS)
    assert sum("CC BY-NC 4.0" in record.message for record in caplog.records) == 1
