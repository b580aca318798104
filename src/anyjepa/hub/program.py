"""An encoder as a program that runs without this library: torch.export (.pt2) or ONNX.

The program maps normalised images (B, C, H, W), B of any size, to the tokens (B, N, D) and their mean (B, D). Height and width
are fixed: the positions are constants of the program.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import CheckpointError, ConfigError, MissingExtraError
from anyjepa.hub.write import write_archive
from anyjepa.nn.transformer import Encoder
from anyjepa.training.tensorfile import write_bytes

TOLERANCE = 1e-4
"""Largest difference, relative to the largest token value above 1, at which a program counts as the same computation."""
LARGEST_ONNX = 2 * 1024**3 - (1 << 24)
"""Bytes of weights that fit into one ONNX file, which is one protobuf message."""
OPSET = 18


class Images(nn.Module):
    """What is exported: from images to tokens and their mean."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Float[Tensor, "B C *size"]) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, D) and pooled (B, D)."""
        tokens = self.encoder(self.encoder.tokenizer.cut(images))
        return tokens, tokens.mean(dim=1)


def trace(encoder: Encoder) -> torch.export.ExportedProgram:
    """The program of an encoder, of any batch size.

    Raises:
        ConfigError: the program would hold an operator that only this machine's PyTorch has.
    """
    images = Images(encoder).eval()
    # Two samples: a batch of one would be taken for a constant.
    batch = {"images": {0: torch.export.Dim("batch", min=1)}}
    with torch.no_grad():
        program = torch.export.export(images, (example(encoder, 2),), dynamic_shapes=batch)
    calls = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    if foreign := sorted(name for name in calls if "." in name and not name.startswith(("aten.", "prims."))):
        raise ConfigError(f"the encoder uses {', '.join(foreign)}, which a program cannot hold")
    return program


def save_torch(encoder: Encoder, path: Path, about: Mapping[str, Any]) -> float:
    """Write a ``.pt2`` file.

    Args:
        encoder: what to export, in eval mode.
        path: the file.
        about: what the file says of itself, under the name ``anyjepa.json``.

    Returns:
        The largest difference between the tokens of the written program and of the encoder, on random images.
    """
    made, files = trace(encoder), {"anyjepa.json": json.dumps(about)}
    write_archive(path, lambda archive: torch.export.save(made, archive, extra_files=files))
    program = torch.export.load(path).module()
    return _compare(encoder, lambda x: program(x))


def save_onnx(encoder: Encoder, path: Path, about: Mapping[str, Any]) -> float:
    """Write an ``.onnx`` file; arguments and result as :func:`save_torch`, ``about`` becomes metadata.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        ConfigError: the weights do not fit into one file.
    """
    size = sum(p.numel() * p.element_size() for p in encoder.parameters())
    if size > LARGEST_ONNX:
        raise ConfigError(
            f"an ONNX file holds up to 2 GiB, the weights have {size / 1024**3:.1f}: use --to torch"
        )
    _extra("onnxscript")
    onnx, runtime = _extra("onnx"), _extra("onnxruntime")
    program = trace(encoder)
    with _quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["tokens", "pooled"],
            verbose=False,
        )
    model = made.model_proto  # type: ignore[union-attr]
    onnx.helper.set_model_props(model, {"anyjepa": json.dumps(about)})
    write_bytes(path, model.SerializeToString())
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return _compare(
        encoder, lambda x: [torch.from_numpy(y) for y in session.run(None, {"images": x.numpy()})]
    )


def example(encoder: Encoder, count: int) -> Tensor:
    """Random images (count, C, H, W), the same ones each time."""
    shape = (count, encoder.tokenizer.channels, *encoder.tokenizer.size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _compare(encoder: Encoder, program: Any) -> float:
    largest = 0.0
    # Two sizes of batch: neither is the one the program was made with.
    for count in (1, 3):
        x = example(encoder, count)
        with torch.no_grad():
            tokens, pooled = program(x)
            wanted = Images(encoder)(x)
        pairs: Sequence[tuple[Tensor, Tensor]] = ((tokens, wanted[0]), (pooled, wanted[1]))
        largest = max(largest, *((got - want).abs().max().item() for got, want in pairs))
        if not largest <= TOLERANCE * max(1.0, wanted[0].abs().max().item()):
            raise CheckpointError(
                f"the exported program computes something else: tokens differ by {largest:.1e}"
            )
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not installed and on its own insides."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(before)


def _extra(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(package, "onnx") from None
