"""Encoders as programs of torch.export and ONNX: without this library, at any batch size, at two input sizes."""

import json
from pathlib import Path

import pytest
import torch
from trained import ENCODER, REST, SHAPE, assert_same, elsewhere, pictures, save, shaken

from anyjepa import create, export
from anyjepa.contract import Method
from anyjepa.hub.encoder import encoder_of
from anyjepa.hub.program import trace
from anyjepa.nn import linear

SIZES = [None, (16, 40)]
VARIANTS = {
    "ijepa": dict(),
    "lejepa": dict(stem="conv", registers=2, positions="rotary", dim=48),
}


def reference(method: Method, size: tuple[int, int] | None) -> Method:
    """The same weights in a model that was built for another size."""
    if size is None:
        return method
    built = create(method.name, **{**_sizes(method), "image_size": size}).eval()
    built.load_state_dict(method.state_dict())
    return built


def _sizes(method: Method) -> dict[str, object]:
    return {**ENCODER, **REST[method.name], **VARIANTS[method.name]}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_torch_program_runs_without_the_library(
    tmp_path: Path, name: str, size: tuple[int, int] | None
) -> None:
    method = shaken(name, **VARIANTS[name])
    done = export(save(method, tmp_path / "run"), "torch", tmp_path / "e.pt2", input_size=size)
    assert done.difference is not None and done.difference <= 1e-5
    wanted = reference(method, size)
    torch.save(pictures(wanted), tmp_path / "x.pt")
    code = """
program, x, result = sys.argv[1:]
x = torch.load(x, weights_only=True)
about = {"anyjepa.json": ""}
model = torch.export.load(program, extra_files=about).module()
import json
assert json.loads(about["anyjepa.json"])["mean"]
torch.save([model(x), model(x[:1])], result)
"""
    elsewhere(code, tmp_path / "e.pt2", tmp_path / "x.pt", tmp_path / "y.pt")
    (tokens, pooled), (alone, _) = torch.load(tmp_path / "y.pt", weights_only=True)
    assert_same(tokens.detach(), pooled.detach(), wanted)
    torch.testing.assert_close(alone, tokens[:1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", VARIANTS)
def test_onnx_computes_the_same(tmp_path: Path, name: str, size: tuple[int, int] | None) -> None:
    pytest.importorskip("onnxscript")
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    method = shaken(name, **VARIANTS[name])
    done = export(save(method, tmp_path / "run"), "onnx", tmp_path / "e.onnx", input_size=size)
    assert done.difference is not None and done.difference <= 1e-5
    wanted = reference(method, size)
    session = runtime.InferenceSession(str(tmp_path / "e.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 3, 5):
        x = pictures(wanted, count)
        tokens, pooled = session.run(["tokens", "pooled"], {"images": x.numpy()})
        with torch.no_grad():
            r = wanted.encode(x)
        torch.testing.assert_close(torch.from_numpy(tokens), r.tokens, rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.from_numpy(pooled), r.pooled, rtol=0, atol=1e-5)
    model = onnx.load(str(tmp_path / "e.onnx"))
    onnx.checker.check_model(model)
    about = json.loads({p.key: p.value for p in model.metadata_props}["anyjepa"])
    assert about["input_size"] == list(size or SHAPE[1:]) and len(about["mean"]) == 3


def test_the_fast_product_of_cpus_does_not_leak_into_programs() -> None:
    encoder = encoder_of(shaken("ijepa", dim=128, heads=4, image_size=(32, 64)))
    tokens = 2 * encoder.tokenizer.layout.tokens
    assert tokens * 128 * 384 >= linear.SMALLEST, "too small to meet the fast product at all"
    targets = {str(node.target) for node in trace(encoder).graph.nodes}
    assert any("aten.linear" in t for t in targets) and not any("mkldnn" in t for t in targets)
