"""S-JEPA and braindecode's SignalJEPA: names, files, errors; the same numbers where braindecode is installed."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anyjepa import create
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.braindecode import LEE2019, from_braindecode, load_braindecode, to_braindecode

PLACES = np.random.default_rng(0).normal(size=(62, 3)) * 0.05


@pytest.fixture(scope="module")
def method():
    return create(
        "sjepa", size="nano", heads=8, channels=LEE2019, positions=PLACES.tolist(), samples=280
    ).eval()


def test_there_and_back(method, tmp_path):
    tensors = to_braindecode(method)
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "model.safetensors")
    torch.save(tensors, tmp_path / "model.pth")
    x = torch.randn(2, 62, 280)
    for name in ("model.safetensors", "model.pth"):
        other = load_braindecode(tmp_path / name, positions=PLACES, samples=280)
        assert torch.equal(
            other.encode(x, encoder="context").tokens, method.encode(x, encoder="context").tokens
        )
        torch.testing.assert_close(other.encode(x).tokens, method.encode(x, encoder="context").tokens)
        assert torch.equal(
            other(x).loss, method(x).loss
        )  # an untrained target encoder is the context encoder
    with pytest.raises(ConfigError, match="dim cannot be chosen"):
        from_braindecode(tensors, positions=PLACES, dim=64)
    with pytest.raises(CheckpointError, match="62 channels, 2 names"):
        from_braindecode(tensors, ["C3", "C4"], positions=PLACES[:2])


def test_names_are_those_of_their_model(method):
    names = set(to_braindecode(method))
    assert {
        "feature_encoder.1.0.weight",
        "feature_encoder.1.2.bias",
        "feature_encoder.5.0.weight",
        "pos_encoder.pos_encoder_spat.weight",
        "transformer.encoder.layers.1.self_attn.in_proj_weight",
        "transformer.encoder.norm.bias",
        "transformer.decoder.layers.0.multihead_attn.out_proj.bias",
        "transformer.decoder.layers.0.norm3.weight",
    } <= names
    assert not any(name.startswith("feature_encoder.0") for name in names)


def test_what_is_not_theirs(method, tmp_path):
    tensors = to_braindecode(method)
    with pytest.raises(CheckpointError, match="not the weights of braindecode's SignalJEPA"):
        from_braindecode({"weight": torch.zeros(2)}, positions=PLACES)
    with pytest.raises(CheckpointError, match="1 missing"):
        from_braindecode(
            {k: v for k, v in tensors.items() if k != "transformer.encoder.norm.bias"}, positions=PLACES
        )
    (tmp_path / "torn.safetensors").write_bytes(b"12345678901")
    with pytest.raises(CheckpointError, match="cannot read the weights"):
        load_braindecode(tmp_path / "torn.safetensors", positions=PLACES)
    with pytest.raises(ConfigError, match="only sjepa"):
        to_braindecode(create("ijepa", size="nano", image_size=[32, 32]))
    swapped = create("sjepa", size="nano", positions=PLACES.tolist(), samples=280, time_first=True)
    with pytest.raises(ConfigError, match="time_first"):
        to_braindecode(swapped)


@pytest.mark.parametrize("samples", [152, 536, 600])
def test_the_same_numbers_as_braindecode(samples):
    models = pytest.importorskip("braindecode.models", reason="braindecode is not installed")
    chs = [{"ch_name": n, "loc": [*p, *[0.0] * 9]} for n, p in zip(LEE2019, PLACES, strict=True)]
    theirs = models.SignalJEPA(n_chans=62, n_times=samples, sfreq=128, chs_info=chs, n_outputs=2).eval()
    ours = from_braindecode(theirs.state_dict(), positions=PLACES, samples=samples)
    x = 10 * torch.randn(2, 62, samples)
    with torch.no_grad():
        tokens = ours.encode(x, encoder="context").tokens
        torch.testing.assert_close(tokens, theirs(x).reshape(tokens.shape), rtol=0, atol=1e-5)
    back, state = to_braindecode(ours), theirs.state_dict()
    assert set(back) == set(state) and all(torch.equal(back[k], state[k]) for k in state)
    fresh = create("sjepa", positions=PLACES.tolist(), samples=samples)
    torch.testing.assert_close(
        fresh.positions.table, state["pos_encoder.pos_encoder_spat.weight"], rtol=0, atol=1e-4
    )


def test_the_channels_are_those_of_braindecode_and_lie_where_theirs_do():
    signal_jepa = pytest.importorskip("braindecode.models.signal_jepa", reason="braindecode is not installed")
    pytest.importorskip("mne", reason="MNE knows where electrodes lie: pip install 'anyjepa[eeg]'")
    from anyjepa.data.montage import look_up

    theirs = signal_jepa._PRETRAIN_CHS_INFO
    assert [channel["ch_name"] for channel in theirs] == list(LEE2019)
    _, places = look_up(LEE2019)
    np.testing.assert_allclose([channel["loc"][:3] for channel in theirs], places, atol=1e-6)
