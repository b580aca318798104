"""What is exported computes the same elsewhere: in transformers, in timm, as a torch.export program, as ONNX."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from trained import SHAPE, assert_same, elsewhere, pictures, save, shaken, train

from anyjepa import export, load
from anyjepa.cli import main
from anyjepa.data import ImageConfig, ImageDataset
from anyjepa.errors import CheckpointError, ConfigError, MissingExtraError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: train(folder, name) for name in ("ijepa", "lejepa")}


@pytest.mark.parametrize("name", ["ijepa", "lejepa"])
@pytest.mark.parametrize("encoder", ["target", "context"])
def test_transformers_computes_the_same(
    tmp_path: Path, runs: dict[str, Path], name: str, encoder: str
) -> None:
    transformers = pytest.importorskip("transformers")
    export(runs[name], "hf", tmp_path / "out", encoder=encoder)
    model = transformers.AutoModel.from_pretrained(tmp_path / "out")
    method = load(runs[name])
    assert type(model).__name__ == "IJepaModel"
    with torch.no_grad():
        assert_same(model(pictures(method)).last_hidden_state, None, method, encoder)
    back = load(tmp_path / "out")
    assert back.name == name and back.config == method.config and not back.training
    for role in ("target", "context"):
        with torch.no_grad():
            assert_same(back.encode(pictures(method), encoder=role).tokens, None, method, encoder)


def test_the_encoders_differ_so_the_choice_is_seen(runs: dict[str, Path]) -> None:
    method = load(runs["ijepa"])
    x = pictures(method)
    with torch.no_grad():
        gap = method.encode(x).tokens - method.encode(x, encoder="context").tokens
    assert gap.abs().max() > 1e-4


@pytest.mark.parametrize("size", [(32, 32), SHAPE[1:]])
def test_the_image_processor_gives_the_same_input(tmp_path: Path, size: tuple[int, int]) -> None:
    transformers = pytest.importorskip("transformers")
    export(save(shaken("ijepa", image_size=size), tmp_path / "run"), "hf", tmp_path / "out")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    # A smooth picture: Pillow rounds to whole grey levels between the two passes of its filter.
    rows, columns = np.meshgrid(
        np.linspace(0, 200, 2 * size[0]), np.linspace(0, 50, 2 * size[1]), indexing="ij"
    )
    pixels = np.stack([rows + columns, 250 - rows, 2 * columns], axis=-1).astype(np.uint8)
    np.save(tmp_path / "x.npy", pixels[None])
    ours = ImageDataset.open(tmp_path / "x.npy", ImageConfig(), size).evaluation([0])
    theirs = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    assert theirs.shape == ours.shape
    assert (theirs - ours).abs().max() < 1.5 / 255 / 0.224


def test_timm_computes_the_same(tmp_path: Path, runs: dict[str, Path]) -> None:
    """timm is tied to a build of torch, so it may live in an environment of its own: ANYJEPA_TIMM_PYTHON names its Python."""
    python = os.environ.get("ANYJEPA_TIMM_PYTHON")
    if python is None and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed, and ANYJEPA_TIMM_PYTHON names no Python that has it")
    registers = save(
        shaken("lejepa", registers=2, positions="learned", mlp_ratio=7 / 3), tmp_path / "registers"
    )
    for i, (source, prefix) in enumerate([(runs["ijepa"], 0), (runs["lejepa"], 0), (registers, 2)]):
        out, method = tmp_path / f"out{i}", load(source)
        export(source, "timm", out)
        torch.save(pictures(method), tmp_path / "x.pt")
        code = """
library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):  # torchvision beside another build of torch lacks these and needs them to be imported
    try:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        pass
import json, timm
folder, x, result = sys.argv[1:]
x = torch.load(x, weights_only=True)
a = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
config = json.load(open(f"{folder}/config.json"))
b = timm.create_model(config["architecture"], **config["model_args"]).eval()
from safetensors.torch import load_file
b.load_state_dict(load_file(f"{folder}/model.safetensors"), strict=True)
with torch.no_grad():
    torch.save([(m.forward_features(x), m(x)) for m in (a, b)], result)
"""
        elsewhere(code, out, tmp_path / "x.pt", tmp_path / "y.pt", python=python or sys.executable)
        for tokens, pooled in torch.load(tmp_path / "y.pt", weights_only=True):
            assert_same(tokens[:, prefix:], pooled, method)
        back = load(out)
        assert back.config == method.config
        with torch.no_grad():
            assert_same(back.encode(pictures(method)).tokens, None, method)


def test_everything_is_kept_in_our_own_layout(tmp_path: Path, runs: dict[str, Path]) -> None:
    odd = save(shaken("ijepa", stem="conv", registers=1, positions="rotary", dim=48), tmp_path / "odd")
    for i, source in enumerate([runs["ijepa"], runs["lejepa"], odd]):
        export(source, "anyjepa", tmp_path / f"out{i}")
        before, after = load(source), load(tmp_path / f"out{i}")
        assert before.config == after.config and not after.training
        assert before.state_dict().keys() == after.state_dict().keys()
        assert all(torch.equal(t, after.state_dict()[name]) for name, t in before.state_dict().items())


def test_the_official_layout_is_reached(tmp_path: Path, runs: dict[str, Path]) -> None:
    export(runs["ijepa"], "official", tmp_path / "out.pth.tar")
    method = load(runs["ijepa"])
    back = load(
        tmp_path / "out.pth.tar", image_size=SHAPE[1:], heads=3, predictor_heads=2, masks={"min_keep": 1}
    )
    with torch.no_grad():
        for role in ("target", "context"):
            assert_same(back.encode(pictures(method), encoder=role).tokens, None, method, role)


def test_missing_packages_are_named(
    tmp_path: Path, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anyjepa\[onnx\]'"):
        export(runs["ijepa"], "onnx", tmp_path / "e.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "to, fields, expected",
    [
        ("hf", dict(stem="conv"), "has linear patches, the model has stem=conv; use --to anyjepa"),
        ("timm", dict(stem="conv"), "timm VisionTransformer layout has linear patches"),
        ("hf", dict(registers=2), "has no registers, the model has 2"),
        ("hf", dict(positions="rotary"), "the model has positions=rotary"),
        ("timm", dict(positions="none"), "the model has positions=none"),
        ("official", dict(stem="conv"), "linear patches"),
        ("official", dict(registers=1), "registers=1"),
    ],
)
def test_a_layout_that_cannot_hold_the_model_says_so(
    tmp_path: Path, to: str, fields: dict, expected: str
) -> None:
    run = save(shaken("ijepa", **fields), tmp_path / "run")
    with pytest.raises(ConfigError, match=expected):
        export(run, to, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_options_that_do_not_fit_are_refused(tmp_path: Path, runs: dict[str, Path]) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="did you mean 'onnx'"):
        export(runs["ijepa"], "onx", out)
    with pytest.raises(ConfigError, match="input_size is for programs"):
        export(runs["ijepa"], "hf", out, input_size=(8, 8))
    with pytest.raises(ConfigError, match="holds all encoders"):
        export(runs["ijepa"], "anyjepa", out, encoder="context")
    with pytest.raises(ConfigError, match="only ijepa can be exported"):
        export(runs["lejepa"], "official", out)
    with pytest.raises(ConfigError, match="not divisible by patch"):
        export(runs["ijepa"], "torch", out, input_size=(30, 32))
    with pytest.raises(ConfigError, match="positions are learned"):
        export(save(shaken("ijepa", positions="learned"), tmp_path / "l"), "torch", out, input_size=(8, 8))


def test_what_is_there_stays(tmp_path: Path, runs: dict[str, Path]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    (out / "preprocessor_config.json").write_text("old")
    with pytest.raises(ConfigError, match="already there"):
        export(runs["ijepa"], "anyjepa", out)
    export(runs["ijepa"], "anyjepa", out, overwrite=True)
    assert (out / "mine.txt").read_text() == "mine" and load(out).name == "ijepa"
    assert not (out / "preprocessor_config.json").exists()
    file = tmp_path / "file.pth.tar"
    file.write_text("mine")
    for to, place, expected in (
        ("official", file, "already there"),
        ("hf", file, "is a file: name a directory"),
        ("torch", out, "is a directory: name a file"),
    ):
        with pytest.raises(ConfigError, match=expected):
            export(runs["ijepa"], to, place)
    assert file.read_text() == "mine" and sorted(p.name for p in tmp_path.iterdir()) == [
        "file.pth.tar",
        "out",
    ]


def test_a_full_disk_is_one_clear_error(tmp_path: Path, runs: dict[str, Path]) -> None:
    """A limit on the size of files stands for it: the system refuses the same calls."""
    pytest.importorskip("resource")
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "src")!r})
from pathlib import Path
from anyjepa import export
from anyjepa.errors import CheckpointError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run, out = map(Path, sys.argv[1:])
out.mkdir()
for to in ("anyjepa", "hf", "timm", "official", "torch"):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        export(run, to, out / to)
    except CheckpointError as error:
        assert "could not be written" in str(error), error
    else:
        raise AssertionError(f"{{to}} was written all the same")
    assert not list(out.iterdir()), (to, list(out.iterdir()))
"""
    command = [sys.executable, "-c", code, str(runs["ijepa"]), str(tmp_path / "full")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_card_says_what_it_is(tmp_path: Path, runs: dict[str, Path]) -> None:
    protocol = dict(test_size=10, classes=2, encoder="target", pooling="mean", seeds=[0, 1])
    row = dict(features="pretrained", labels=40, dims=24, knn=[0.5, 0.7], linear=[0.625])
    (runs["ijepa"] / "probe.json").write_text(json.dumps({"rows": [row], **protocol}))
    export(runs["ijepa"], "hf", tmp_path / "my-model", licence="apache-2.0")
    text = (tmp_path / "my-model" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "apache-2.0" and front["library_name"] == "transformers"
    assert front["datasets"] == ["pictures.npy"] and "ijepa" in front["tags"]
    for expected in ("2301.08243", "too early to say", "| pretrained | 40 | 60.0 | 62.5 |", "3 steps of 8 samples",
                     'AutoModel.from_pretrained("my-model")', "3 x 24 x 32", "[0.5, 0.4, 0.3]"):  # fmt: skip
        assert expected in text
    # The licence goes on with the weights; where the run lies on this disk does not.
    export(tmp_path / "my-model", "anyjepa", tmp_path / "again")
    again = (tmp_path / "again" / "README.md").read_text()
    assert yaml.safe_load(again.split("---\n")[1])["license"] == "apache-2.0" and "[0.5, 0.4, 0.3]" in again
    for file in (*(tmp_path / "my-model").iterdir(), *(tmp_path / "again").iterdir()):
        assert str(runs["ijepa"].parent).encode() not in file.read_bytes()
    export(runs["lejepa"], "hf", tmp_path / "free")
    assert "license: unknown" in (tmp_path / "free" / "README.md").read_text()


def test_the_verb(tmp_path: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "e.pt2"
    assert (
        main(["export", str(runs["ijepa"]), "--to", "torch", "--out", str(out), "--input-size", "16", "24"])
        == 0
    )
    assert f"wrote {out} (torch); checked: tokens differ by at most" in capsys.readouterr().out
    assert main(["export", str(runs["ijepa"]), "--to", "torch", "--out", str(out)]) == 2
    assert "already there" in capsys.readouterr().err
    empty = tmp_path / "empty"
    (empty / "checkpoints").mkdir(parents=True)
    (empty / "config.yaml").write_text("method: ijepa\n")
    for source, expected in (
        (empty, "holds no whole checkpoint"),
        (tmp_path / "no" / "where", "is not there"),
    ):
        assert main(["export", str(source), "--to", "hf", "--out", str(tmp_path / "x")]) == 2
        assert expected in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="holds no whole checkpoint"):
        export(tmp_path, "hf", tmp_path / "x")
