"""Official V-JEPA and V-JEPA 2 checkpoints: from stored names, and from the official modules where a checkout is given.

``ANYJEPA_OFFICIAL_VJEPA`` and ``ANYJEPA_OFFICIAL_VJEPA2`` name checkouts of facebookresearch/jepa and facebookresearch/vjepa2,
which are run on random weights.
"""

import os
import subprocess
import sys

import pytest
import torch

import anyjepa
from anyjepa import create
from anyjepa.contract import Masks
from anyjepa.data.video_config import VideoConfig
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.load import read
from anyjepa.hub.official import load_official
from anyjepa.hub.official_video import load_official_video, save_official_video

SMALL = dict(frames=4, image_size=(32, 48), patch_size=16, dim=24, depth=2, heads=2, mlp_ratio=4.0)
SMALL |= dict(predictor_width=16, predictor_depth=2, predictor_heads=2)
FEW = dict(blocks=1, spatial_scale=[0.3, 0.3])
HEADS = dict(heads=2, predictor_heads=2, short_range=FEW, long_range=FEW)
BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
MASKS = [
    Masks(torch.tensor([[0, 3, 7], [1, 2, 6]]), torch.tensor([[[1, 8]], [[0, 11]]])),
    Masks(torch.tensor([[5, 9], [4, 10]]), torch.tensor([[[0, 1, 2]], [[6, 7, 8]]])),
]


def method(**fields):
    made = create("vjepa", **(SMALL | dict(short_range=FEW, long_range=FEW) | fields)).eval()
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draws)
    return made


def names(first: bool) -> dict[str, set[str]]:
    """Names of all tensors in the official files of a model of two blocks: those of V-JEPA, or of V-JEPA 2."""

    def blocks(name):
        return {
            f"{name}.{i}.{part}.{leaf}" for i in range(2) for part in BLOCK for leaf in ("weight", "bias")
        }

    encoder = {"patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"} | blocks(
        "blocks"
    )
    predictor = blocks("predictor_blocks") | {f"mask_tokens.{i}" for i in range(2 if first else 10)}
    predictor |= {
        f"predictor_{part}.{leaf}" for part in ("embed", "norm", "proj") for leaf in ("weight", "bias")
    }
    if first:
        encoder, predictor = encoder | {"pos_embed"}, predictor | {"predictor_pos_embed"}
    found = {"encoder": encoder, "target_encoder": encoder, "predictor": predictor}
    return {part: {f"module.backbone.{name}" for name in all_names} for part, all_names in found.items()}


def assert_same(a, b):
    x = torch.randn(2, 3, 4, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for encoder in ("target", "context"):
            torch.testing.assert_close(
                a.encode(x, encoder=encoder).tokens, b.encode(x, encoder=encoder).tokens, rtol=0, atol=0
            )
        one, two = a(x, MASKS), b(x, MASKS)
    torch.testing.assert_close(one.predicted, two.predicted, rtol=0, atol=0)
    torch.testing.assert_close(one.loss, two.loss, rtol=0, atol=0)


VERSIONS = [{}, dict(positions="rotary_tiled", mask_tokens="one")]


@pytest.mark.parametrize("fields", VERSIONS, ids=["v1", "v2"])
def test_there_and_back(fields, tmp_path):
    made, file = method(**fields), tmp_path / "latest.pth.tar"
    save_official_video(made, file)
    content = torch.load(file, weights_only=True)
    assert {part: set(content[part]) for part in names(True)} == names(not fields)
    assert content["encoder"]["module.backbone.patch_embed.proj.weight"].shape == (24, 3, 2, 16, 16)
    loaded = load_official_video(file, frames=4, image_size=(32, 48), **HEADS)
    c = loaded.config
    assert (c.positions, c.mask_tokens) == (made.config.positions, made.config.mask_tokens)
    assert not loaded.training
    assert_same(made, loaded)
    # The front door tells clips from images.
    known = read(file, frames=4, image_size=(32, 48), **HEADS)
    assert isinstance(known.reading, VideoConfig) and known.licence == (
        "cc-by-nc-4.0" if not fields else "mit"
    )
    assert_same(made, anyjepa.load(file, frames=4, image_size=(32, 48), **HEADS))


def test_a_file_with_an_encoder_alone_and_both_tables(tmp_path):
    """As the released V-JEPA 2 files may be: positions that nobody reads, no second encoder."""
    made, file = method(**VERSIONS[1]), tmp_path / "vitl.pt"
    save_official_video(made, file)
    content = torch.load(file, weights_only=True)
    del content["encoder"]
    content["encoder"] = content.pop("target_encoder") | {"module.backbone.pos_embed": torch.zeros(1, 7, 24)}
    content["predictor"]["module.backbone.predictor_pos_embed"] = torch.zeros(1, 7, 16)
    torch.save(content, file)
    loaded = load_official_video(file, frames=4, image_size=(32, 48), **HEADS)
    x = torch.randn(1, 3, 4, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode(x).tokens, made.encode(x).tokens, rtol=0, atol=0)
        torch.testing.assert_close(
            loaded.encode(x, encoder="context").tokens, made.encode(x).tokens, rtol=0, atol=0
        )


def test_sizes_from_the_stored_positions_and_others_on_request(tmp_path):
    made, file = method(image_size=(48, 48), frames=6), tmp_path / "c.pth.tar"
    save_official_video(made, file)
    assert load_official_video(file, frames=6, **HEADS).config.image_size == (48, 48)
    larger = load_official_video(file, frames=8, image_size=(64, 32), **HEADS)
    wanted = create("vjepa", **(SMALL | HEADS | dict(frames=8, image_size=(64, 32)))).eval()
    wanted.load_state_dict(made.state_dict())
    x = torch.randn(1, 3, 8, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(larger.encode(x).tokens, wanted.encode(x).tokens, rtol=0, atol=0)


def test_wrong_files(tmp_path):
    file = tmp_path / "c.pth.tar"
    save_official_video(method(), file)

    def refused(change, match, **fields):
        content = torch.load(file, weights_only=True)
        change(content)
        torch.save(content, tmp_path / "d.pth.tar")
        with pytest.raises((CheckpointError, ConfigError), match=match):
            load_official_video(
                tmp_path / "d.pth.tar", **(dict(frames=4, image_size=(32, 48)) | HEADS | fields)
            )

    wrap = "module.backbone."
    refused(lambda c: c.pop("predictor"), "no predictor")
    refused(lambda c: c["encoder"].pop(f"{wrap}norm.bias"), "1 missing")
    refused(
        lambda c: c["encoder"].update({f"{wrap}patch_embed_img.proj.weight": torch.zeros(1)}), "1 unknown"
    )
    refused(
        lambda c: c["encoder"].update({f"{wrap}pos_embed": torch.zeros(1, 12, 24)}), "not the sin-cos table"
    )
    refused(lambda c: c["predictor"].pop(f"{wrap}mask_tokens.0"), "mask_token")
    refused(lambda c: c["encoder"].update({f"{wrap}norm.bias": torch.zeros(7)}), "norm.bias")
    refused(lambda c: None, "dim cannot be chosen", dim=48)
    refused(lambda c: None, "no square grid", image_size=None, frames=10)
    with pytest.raises(CheckpointError, match="pass heads"):
        load_official_video(file, frames=4, image_size=(32, 48))
    with pytest.raises(CheckpointError, match="I-JEPA predictor"):
        load_official(file)
    with pytest.raises(ConfigError, match="without levels"):
        save_official_video(method(levels=(0, 1)), file)


RUN = """
import json, logging, sys, types
logging.disable(logging.CRITICAL)
checkout, file, version = sys.argv[1:]
sys.path.insert(0, checkout)
import torch
if version == "2":
    try:
        import timm.models.layers
    except ImportError:
        # All that is asked of it here is to drop nothing.
        for name in ("timm", "timm.models", "timm.models.layers"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["timm.models.layers"].drop_path = lambda x, *rest, **more: x
from src.models import predictor, vision_transformer
torch.manual_seed(0)
rope = dict(use_rope=True, use_sdpa=True) if version == "2" else dict(uniform_power=True)
common = dict(img_size=48, patch_size=16, num_frames=4, tubelet_size=2) | rope
encoder = vision_transformer.VisionTransformer(embed_dim=48, depth=2, num_heads=2, **common,
    norm_layer=lambda d: torch.nn.LayerNorm(d, eps=1e-6))
guess = predictor.vit_predictor(embed_dim=48, predictor_embed_dim=32, depth=2, num_heads=2, use_mask_tokens=True,
    num_mask_tokens=10 if version == "2" else 2, **common)
with torch.no_grad():
    for name, p in [*encoder.named_parameters(), *guess.named_parameters()]:
        if "pos_embed" not in name:
            p += 0.05 * torch.randn_like(p)
encoder, guess = encoder.eval(), guess.eval()
x = torch.randn(2, 3, 4, 48, 48)
context, target = torch.tensor([[0, 3, 7], [1, 2, 12]]), torch.tensor([[1, 8], [0, 17]])
with torch.no_grad():
    whole, seen = encoder(x), encoder(x, masks=context)
    args = (seen, context, target) if version == "2" else (seen, None, context, target)
    asked = guess(*args, mask_index=0)
wrap = lambda module: {f"module.backbone.{k}": v for k, v in module.state_dict().items()}
torch.save({"encoder": wrap(encoder), "target_encoder": wrap(encoder), "predictor": wrap(guess), "opt": {}, "epoch": 1,
    "loss": 0.1, "scaler": None}, file)
torch.save(dict(x=x, context=context, target=target, whole=whole, seen=seen, asked=asked), file + ".io")
"""


@pytest.mark.parametrize("version", ["1", "2"])
def test_the_official_modules_compute_the_same(version, tmp_path):
    variable = "ANYJEPA_OFFICIAL_VJEPA" + ("2" if version == "2" else "")
    checkout = os.environ.get(variable)
    if not checkout:
        pytest.skip(f"{variable} names no checkout of the official code")
    file = tmp_path / "official.pt"
    subprocess.run([sys.executable, "-c", RUN, checkout, str(file), version], check=True, timeout=120)
    content, io = torch.load(file, weights_only=True), torch.load(f"{file}.io", weights_only=True)
    # The stored lists of names are those of the official code.
    assert {part: set(content[part]) for part in names(True)} == names(version == "1")
    loaded = load_official_video(
        file, frames=4, **(dict(image_size=(48, 48)) if version == "2" else {}), **HEADS
    )
    with torch.no_grad():
        patches = loaded.context_encoder.tokenizer.cut(io["x"])
        seen = loaded.context_encoder.read(patches, io["context"])
        asked = loaded.predictor(seen, io["context"], io["target"][:, None], kind=0)[:, 0]
        torch.testing.assert_close(loaded.encode(io["x"]).tokens, io["whole"], rtol=0, atol=2e-5)
        torch.testing.assert_close(seen, io["seen"], rtol=0, atol=2e-5)
        torch.testing.assert_close(asked, io["asked"], rtol=0, atol=2e-5)
