"""What every registered method must do, whatever it is."""

import copy

import pytest
import torch
from cases import CASES, noise
from safetensors.torch import load_file, save_file

from anyjepa import Batch, create, names
from anyjepa.bundle import blank
from anyjepa.config import from_dict, to_dict
from anyjepa.errors import ConfigError
from anyjepa.registry import entry

SETTINGS = [
    pytest.param(name, shape, variant, id=f"{name}-{'x'.join(map(str, shape))}-{variant or 'default'}")
    for name, case in CASES.items()
    for shape, variant in [(s, {}) for s in case.shapes] + [(case.shapes[0], v) for v in case.variants]
]
MASKED = [setting for setting in SETTINGS if CASES[str(setting.values[0])].masks]
FIRST = [pytest.param(name, case.shapes[0], id=name) for name, case in CASES.items()]


def build(name, shape, variant=None):
    config = from_dict(entry(name).config, CASES[name].fields | (variant or {})).fit(shape)
    return create(name, config)


def batch_of(name, n, shape, step=0):
    """What the method trains on."""
    draw = CASES[name].drawn or noise
    inputs = draw(n, shape, torch.Generator().manual_seed(step))
    return Batch(inputs, torch.arange(n) + 7 * step, step=step)


def samples_of(n, shape):
    """What it encodes."""
    return noise(n, shape, torch.Generator().manual_seed(0))


def train(method, shape, steps, n=8):
    name = method.name
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        output = method(batch_of(name, n, shape, step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(output.loss.item())
    return losses


def test_every_method_has_a_case():
    assert set(CASES) == set(names())


@pytest.mark.parametrize("name, shape, variant", SETTINGS)
def test_forward_and_backward_are_finite(name, shape, variant):
    method = build(name, shape, variant)
    assert method.input_shape() == shape
    output = method(batch_of(name, 4, shape))
    output.loss.backward()
    assert output.loss.ndim == 0 and torch.isfinite(output.loss)
    if CASES[name].targets:
        assert output.predicted.shape == output.target.shape and not output.target.requires_grad
    else:
        assert output.predicted is None and output.target is None
    for key, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
        else:
            assert parameter.grad is None, key


@pytest.mark.parametrize("name, shape, variant", SETTINGS)
def test_encode_gives_one_vector_per_token_and_sample(name, shape, variant):
    method = build(name, shape, variant).eval()
    x = samples_of(3, shape)
    for encoder in ("target", "context"):
        z = method.encode(x, encoder=encoder)
        # Fixed features have no encoder of their own: what answers says so.
        alone = getattr(method.config, "target", None) == "features"
        assert z.encoder == ("context" if alone else encoder) and z.tokens.shape[:2] == (3, z.layout.tokens)
        assert z.pooled.shape == (3, z.tokens.shape[2]) and torch.isfinite(z.pooled).all()
        torch.testing.assert_close(z.pooled[1], method.encode(x[1:2], encoder=encoder).pooled[0])
    assert not torch.equal(method.encode(x, layer=0).tokens, method.encode(x, layer=-1).tokens)
    with pytest.raises(ConfigError, match="did you mean 'target'"):
        method.encode(x, encoder="targte")


@pytest.mark.parametrize("name, shape, variant", MASKED)
def test_masks_are_valid_indices(name, shape, variant):
    method = build(name, shape, variant)
    masks = method(batch_of(name, 5, shape)).masks
    n = method.encode(samples_of(1, shape)).layout.tokens
    for tokens in (masks.context, masks.targets):
        assert int(tokens.min()) >= 0 and int(tokens.max()) < n


@pytest.mark.parametrize("name, shape, variant", SETTINGS)
def test_batch_of_one(name, shape, variant):
    output = build(name, shape, variant)(batch_of(name, 1, shape))
    output.loss.backward()
    assert torch.isfinite(output.loss)


@pytest.mark.parametrize("name, shape", FIRST)
def test_a_step_is_a_pure_function_of_weights_and_batch(name, shape):
    assert train(build(name, shape), shape, 3) == train(build(name, shape), shape, 3)


@pytest.mark.parametrize("name, shape", FIRST)
def test_bare_inputs_are_a_batch(name, shape):
    method, x = build(name, shape), batch_of(name, 4, shape).inputs
    assert torch.equal(method(x).loss, method(Batch(x, torch.arange(4))).loss)
    method.after_step(0)
    assert torch.equal(method(x).loss, method(Batch(x, torch.arange(4), step=1)).loss)


@pytest.mark.parametrize("name, shape", [f for f in FIRST if CASES[str(f.values[0])].ema])
def test_the_target_encoder_follows(name, shape):
    method = build(name, shape)
    before = copy.deepcopy(method)
    x = samples_of(4, shape)
    train(method, shape, 3)
    moved = (method.encode(x).pooled - before.encode(x).pooled).abs().max()
    online = (
        (method.encode(x, encoder="context").pooled - before.encode(x, encoder="context").pooled).abs().max()
    )
    assert 0 < moved < online


@pytest.mark.parametrize("name, shape", FIRST)
def test_the_loss_falls_on_one_batch(name, shape):
    method = build(name, shape)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(60):
        output = method(batch_of(name, 8, shape))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name, shape, variant", SETTINGS)
def test_weights_survive_a_file(name, shape, variant, tmp_path):
    method = build(name, shape, variant)
    train(method, shape, 2)
    save_file(method.state_dict(), tmp_path / "model.safetensors")
    other = create(name, from_dict(entry(name).config, to_dict(method.config)))
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = samples_of(2, shape)
    method.eval(), other.eval()
    assert torch.equal(method.encode(x).tokens, other.encode(x).tokens)
    assert torch.equal(method(batch_of(name, 4, shape, 9)).loss, other(batch_of(name, 4, shape, 9)).loss)


@pytest.mark.parametrize("name, shape", FIRST)
def test_the_seed_decides_the_initial_weights(name, shape):
    state = torch.random.get_rng_state()
    a, b = build(name, shape), build(name, shape)
    c = build(name, shape, {"seed": 1})
    assert torch.equal(state, torch.random.get_rng_state()), "construction must not move the global generator"
    same = [torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    differ = [torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True)]
    assert all(same) and not all(differ)


@pytest.mark.parametrize("name, shape", FIRST)
def test_a_wrong_input_shape_is_named(name, shape):
    method = build(name, shape)
    # What it trains on may be something else than what it encodes.
    take = method if CASES[name].drawn is None else method.encode
    with pytest.raises(ConfigError, match="expected input"):
        take(blank(_longer(shape), 2))


def _longer(shape):
    """The shape, its last axis (of its first part) one longer."""
    if isinstance(shape, tuple):
        return (*shape[:-1], shape[-1] + 1)
    first = next(iter(shape))
    return shape | {first: _longer(shape[first])}


@pytest.mark.parametrize("name, shape", FIRST)
def test_all_trainable_parameters_are_in_one_group(name, shape):
    method = build(name, shape)
    grouped = [p for group in method.parameter_groups() for p in group["params"]]
    trainable = [p for p in method.parameters() if p.requires_grad]
    assert len(grouped) == len(trainable) and {id(p) for p in grouped} == {id(p) for p in trainable}
    assert all(p.ndim > 1 for p in method.parameter_groups()[0]["params"])


@pytest.mark.parametrize("name, shape", FIRST)
def test_bfloat16_autocast_stays_close(name, shape):
    method, batch = build(name, shape), batch_of(name, 4, shape)
    exact = method(batch).loss.item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = method(batch)
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("name, shape", [f for f in FIRST if CASES[str(f.values[0])].targets])
def test_the_remedy_against_collapse_is_a_change_of_the_config(name, shape):
    """It can be called in the middle of a training, and once more, and leaves the weights alone."""
    method = build(name, shape, {"regularizer": {"kind": "none"}})
    before = [p.clone() for p in method.parameters()]
    assert "regularizer" in method.rescue() and method.config.regularizer.kind != "none"
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))
    assert "regularizer" in method(batch_of(name, 4, shape)).losses
    assert method.rescue() is None
