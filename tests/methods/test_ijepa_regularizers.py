"""What the regularizer of I-JEPA acts on, and whom its gradient reaches."""

import pytest
import torch

from anyjepa import Batch, create
from anyjepa.errors import ConfigError
from anyjepa.objectives.regularizers import RegularizerConfig, regularize

TINY = dict(dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=2, image_size=[32, 32], patch_size=4)


def build(**fields):
    return create("ijepa", **(TINY | fields))


def batch(step=3, seed=5):
    x = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.arange(6), step=step, seed=seed)


def trained_by_the_regularizer(method):
    """Names of the modules that the term alone moves: its gradient is the loss's less that of the prediction."""
    reached = set()
    with_term, without = method, build(target=method.config.target)
    without.load_state_dict(with_term.state_dict())
    for m in (with_term, without):
        m(batch()).loss.backward()
    pairs = zip(with_term.named_parameters(), without.named_parameters(), strict=True)
    for (name, p), (_, q) in pairs:
        if p.grad is not None and not torch.allclose(p.grad, q.grad, rtol=1e-4, atol=1e-7):
            reached.add(name.split(".")[0])
    return reached


@pytest.mark.parametrize(
    "on, target, reached",
    [
        ("context", "ema", {"context_encoder"}),
        ("context", "online", {"context_encoder"}),
        ("target", "online", {"context_encoder"}),
        ("prediction", "ema", {"context_encoder", "predictor"}),
        ("prediction", "online", {"context_encoder", "predictor"}),
    ],
)
@pytest.mark.parametrize("kind", ["vicreg", "sigreg", "visreg", "koleo"])
def test_the_gradient_reaches_what_makes_the_samples(on, target, reached, kind):
    method = build(target=target, regularizer=dict(kind=kind, on=on, slices=16))
    assert trained_by_the_regularizer(method) == reached


@pytest.mark.parametrize("on, target", [("context", "ema"), ("target", "online"), ("prediction", "frozen")])
@pytest.mark.parametrize("level", ["pooled", "tokens"])
def test_the_value_is_that_of_the_named_samples(on, target, level):
    settings = dict(kind="sigreg", level=level, slices=16)
    method = build(target=target, regularizer=dict(on=on, weight=0.5, **settings), masks={"truncate": "pad"})
    output = method(batch())
    blocks = {"target": output.target.flatten(1, 2), "prediction": output.predicted.flatten(1, 2)}
    tokens = {"context": output.context, **blocks}[on]
    valid = output.masks.context_valid if on == "context" else None
    expected = regularize(RegularizerConfig(**settings), tokens, valid, seed=5, step=3)
    torch.testing.assert_close(output.losses["regularizer"], expected.detach())
    torch.testing.assert_close(output.loss.detach(), output.losses["prediction"] + 0.5 * expected.detach())
    assert not output.losses["regularizer"].requires_grad


def test_directions_follow_the_batch():
    method = build(regularizer=dict(kind="sigreg", slices=4))
    masks = method(batch()).masks
    values = [
        method(batch(step, seed), masks).losses["regularizer"].item()
        for step, seed in ((3, 5), (3, 5), (4, 5), (3, 6))
    ]
    assert values[0] == values[1] and len(set(values)) == 3


def test_online_targets_learn():
    """The prediction pulls at both ends: with equal weights and values, the gradients differ from those of stopgrad."""
    gradients = {}
    for target in ("online", "stopgrad"):
        method = build(target=target)
        output = method(batch())
        output.loss.backward()
        assert not output.target.requires_grad
        gradients[target] = output.loss.item(), [p.grad for p in method.context_encoder.parameters()]
    assert gradients["online"][0] == gradients["stopgrad"][0]
    assert not any(
        torch.allclose(p, q) for p, q in zip(gradients["online"][1], gradients["stopgrad"][1], strict=True)
    )
    with torch.no_grad():
        assert not build(target="online")(batch()).loss.requires_grad


@pytest.mark.parametrize("target", ["ema", "stopgrad", "frozen"])
def test_targets_without_gradient_cannot_be_regularized(target):
    with pytest.raises(ConfigError, match=f"needs target=online: with target={target}"):
        build(target=target, regularizer=dict(kind="sigreg", on="target"))
    build(target=target, regularizer=dict(kind="none", on="target"))
