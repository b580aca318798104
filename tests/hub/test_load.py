"""Weights come in from anywhere through one door, and what is torn, unknown or hostile is one clear error."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from trained import pictures, save, shaken

from anyjepa import create, export, load
from anyjepa.contract import Method
from anyjepa.errors import AnyjepaError, CheckpointError, ConfigError, MissingExtraError
from anyjepa.hub.load import read


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model in each of the layouts that are directories."""
    folder = tmp_path_factory.mktemp("exported")
    run = save(shaken("ijepa"), folder / "run")
    for to in ("anyjepa", "hf", "timm"):
        export(run, to, folder / to)
    return folder


@torch.no_grad()
def assert_same(a: Method, b: Method) -> None:
    x = pictures(a)
    torch.testing.assert_close(a.encode(x).tokens, b.encode(x).tokens, rtol=0, atol=1e-6)


def without_ours(source: Path, out: Path) -> Path:
    """A copy as the other library would have written it: without our part of the config."""
    shutil.copytree(source, out)
    change(out, lambda config: config.pop("anyjepa"))
    return out


def change(folder: Path, how) -> None:
    config = json.loads((folder / "config.json").read_text())
    how(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("layout", ["hf", "timm"])
def test_encoders_that_other_libraries_wrote(exported: Path, tmp_path: Path, layout: str) -> None:
    back = load(without_ours(exported / layout, tmp_path / "x"), masks={"min_keep": 1}, predictor_width=12)
    assert back.name == "ijepa" and back.config.predictor_width == 12
    assert_same(back, load(exported / "run"))
    with pytest.raises(ConfigError, match="dim cannot be chosen"):
        load(tmp_path / "x", dim=8)


def test_weights_in_several_files(exported: Path, tmp_path: Path) -> None:
    out = without_ours(exported / "hf", tmp_path / "x")
    tensors = load_file(out / "model.safetensors")
    (out / "model.safetensors").unlink()
    names = sorted(tensors)
    where = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for part in set(where.values()):
        save_file({n: tensors[n] for n in names if where[n] == part}, out / part)
    (out / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert_same(load(out, masks={"min_keep": 1}), load(exported / "run"))
    (out / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../part-0.safetensors"}})
    )
    with pytest.raises(CheckpointError, match="files beside it"):
        load(out)


def test_a_classifier_of_transformers_gives_its_encoder(exported: Path, tmp_path: Path) -> None:
    out = without_ours(exported / "hf", tmp_path / "x")
    tensors = {f"ijepa.{n}": t for n, t in load_file(out / "model.safetensors").items()}
    save_file({**tensors, "classifier.weight": torch.zeros(2, 24)}, out / "model.safetensors")
    assert_same(load(out, masks={"min_keep": 1}), load(exported / "run"))


def test_encoders_only_are_known_to_be(exported: Path) -> None:
    found = {layout: read(exported / layout).whole for layout in ("run", "anyjepa", "hf", "timm")}
    assert found == {"run": True, "anyjepa": True, "hf": False, "timm": False}


HOSTILE = {
    "not json": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "deeply nested": (lambda f: (f / "config.json").write_text("[" * 100_000), "is not JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "must hold names and values"),
    "another model": (lambda f: change(f, lambda c: c.update(model_type="llama")), "model_type='llama'"),
    "unknown method": (
        lambda f: change(f, lambda c: c["anyjepa"].update(method="os.system")),
        "unknown method",
    ),
    "unknown field": (
        lambda f: change(f, lambda c: c["anyjepa"]["model"].update(dmi=3)),
        "did you mean 'dim'",
    ),
    "wrong type": (lambda f: change(f, lambda c: c["anyjepa"]["model"].update(dim="24")), "dim must be int"),
    "huge width": (
        lambda f: change(f, lambda c: c["anyjepa"]["model"].update(dim=10**12)),
        "dim=1000000000000",
    ),
    "huge depth": (
        lambda f: change(f, lambda c: c["anyjepa"]["model"].update(depth=10**9)),
        "depth=1000000000",
    ),
    "no depth": (lambda f: change(f, lambda c: c["anyjepa"]["model"].update(depth=0)), "depth=0"),
    "huge predictor": (
        lambda f: change(f, lambda c: c["anyjepa"]["model"].update(predictor_width=10**7)),
        "predictor_width=10000000",
    ),
    "endless predictor": (
        lambda f: change(f, lambda c: c["anyjepa"]["model"].update(predictor_depth=10**9)),
        "predictor_depth=1000000000",
    ),
    "negative patch": (
        lambda f: change(f, lambda c: c["anyjepa"]["model"].update(patch_size=-1)),
        "patches of -1",
    ),
    "huge image": (
        lambda f: change(f, lambda c: c["anyjepa"]["model"].update(image_size=[10**9, 10**9])),
        "tokens",
    ),
    "other width": (lambda f: change(f, lambda c: c["anyjepa"]["model"].update(dim=48)), "dim|48|fit"),
    "no part of ours": (lambda f: change(f, lambda c: c.update(anyjepa=[1])), "no group 'anyjepa'"),
    "zero std": (lambda f: change(f, lambda c: c["anyjepa"].update(std=[0.1, 0, 1])), "std must be positive"),
    "infinite mean": (
        lambda f: change(f, lambda c: c["anyjepa"].update(mean=[0, 0, 1e999])),
        "list of numbers",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "only safetensors files are read"),
}


@pytest.mark.parametrize("layout", ["anyjepa", "hf"])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_directory_is_one_clear_error(
    exported: Path, tmp_path: Path, layout: str, case: str
) -> None:
    out = tmp_path / "x"
    shutil.copytree(exported / layout, out)
    spoil, expected = HOSTILE[case]
    spoil(out)
    with pytest.raises(AnyjepaError, match=expected) as error:
        load(out)
    assert str(out) in str(error.value)


def test_a_format_from_the_future_is_named(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "anyjepa", tmp_path / "x")
    change(tmp_path / "x", lambda c: c.update(format=2))
    with pytest.raises(CheckpointError, match="update anyjepa"):
        load(tmp_path / "x")


@pytest.mark.parametrize("name", ["image_size", "patch_size", "num_channels", "num_attention_heads"])
@pytest.mark.parametrize("value", ["8", None, 0, -4, 10**12, True, [1, 2, 3], 5])
def test_wrong_sizes_from_other_libraries(exported: Path, tmp_path: Path, name: str, value: object) -> None:
    out = without_ours(exported / "hf", tmp_path / "x")
    change(out, lambda c: c.update({name: value}))
    with pytest.raises(AnyjepaError):
        load(out, masks={"min_keep": 1})


@pytest.mark.parametrize("layout", ["anyjepa", "hf", "timm"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_torn_weights(exported: Path, tmp_path: Path, layout: str, share: float) -> None:
    shutil.copytree(exported / layout, tmp_path / "x")
    file = tmp_path / "x" / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load(tmp_path / "x")


def test_a_tensor_too_few_or_of_another_shape(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    shutil.copytree(exported / "hf", out)
    tensors = load_file(out / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if n != "layernorm.bias"}, out / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing \(layernorm.bias\)"):
        load(out)
    save_file({**tensors, "layernorm.bias": torch.zeros(3)}, out / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"norm.bias: expected \(24,\) by the config, got \(3,\)"):
        load(out)
    table = tensors["embeddings.position_embeddings"]
    save_file({**tensors, "embeddings.position_embeddings": table + 1}, out / "model.safetensors")
    with pytest.raises(CheckpointError, match="not the sin-cos table"):
        load(out)


def test_what_is_no_model_is_named(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "e.onnx").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("x")
    for source, expected in (
        (tmp_path / "e.onnx", "run it with onnxruntime"),
        (tmp_path / "readme.txt", "is no file to load"),
        (exported / "hf" / "model.safetensors", "name the directory"),
        (tmp_path, "holds no whole checkpoint"),
        (tmp_path / "absent", "is not there"),
        ("../absent/x", "is not there"),
    ):
        with pytest.raises(CheckpointError, match=expected):
            load(source)
    with pytest.raises(ConfigError, match="the run has a config"):
        load(exported / "run", dim=3)
    with pytest.raises(ConfigError, match="revision=v1 is for names on the hub"):
        load(exported / "run", revision="v1")


def test_a_name_on_the_hub(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked = {}

    def snapshot(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(exported / "hf")

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    assert_same(load("user/model", revision="v1"), load(exported / "run"))
    assert asked["name"] == "user/model" and asked["revision"] == "v1"
    assert not any("bin" in p or p == "*" for p in asked["allow_patterns"])


def test_without_a_network_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests are run with the hub switched off."""
    pytest.importorskip("huggingface_hub")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="user/model is not a directory here, and could not be fetched"):
        load("user/model")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"anyjepa\[hf\]"):
        load("user/model")


def test_registers_come_back_from_timm(tmp_path: Path) -> None:
    method = shaken("ijepa", registers=2, positions="learned")
    export(save(method, tmp_path / "run"), "timm", tmp_path / "out")
    back = load(without_ours(tmp_path / "out", tmp_path / "x"), masks={"min_keep": 1})
    assert back.config.registers == 2 and back.config.positions == "learned"
    assert_same(back, method)


def test_a_larger_model_of_every_layout_is_not_mistaken_for_hostile(tmp_path: Path) -> None:
    """The limits on sizes in a config are those of its tensors: a shallow, narrow one and one with many blocks pass."""
    # The projector of the second one is far wider than its encoder.
    for i, (hidden, sizes) in enumerate(
        [(4, dict(dim=8, depth=1, heads=1)), (2048, dict(dim=12, depth=9, heads=3, mlp_ratio=1.0))]
    ):
        method = create("lejepa", image_size=(40, 60), patch_size=5, hidden=hidden, **sizes).eval()
        for to in ("anyjepa", "hf"):
            export(save(method, tmp_path / f"run{i}"), to, tmp_path / f"{to}{i}")
            assert_same(load(tmp_path / f"{to}{i}"), method)
