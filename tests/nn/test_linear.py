"""The linear layer agrees with torch's, in value and in first and second derivatives, on either path."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa.nn import linear
from anyjepa.nn.linear import Linear


@pytest.fixture(params=[0, 1 << 60], ids=["onednn", "torch"])
def path(request, monkeypatch):
    monkeypatch.setattr(linear, "SMALLEST", request.param)
    return request.param


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("extra", ["none", "gelu", "residual"])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients(path, extra, bias):
    torch.manual_seed(0)
    layer = Linear(16, 24, bias=bias)
    x = torch.randn(3, 5, 16, requires_grad=True)
    whole = torch.randn(3, 7, 24, requires_grad=True)
    residual = whole[:, 2:] if extra == "residual" else None  # a view with gaps, as the predictor hands in
    y = F.linear(x, layer.weight, layer.bias)
    y = F.gelu(y) if extra == "gelu" else y if residual is None else residual + y
    inputs = [x, *layer.parameters(), *([whole] if extra == "residual" else [])]
    g = torch.randn_like(y)
    expected = torch.autograd.grad(y, inputs, g)
    ours = layer(x, residual=residual, gelu=extra == "gelu")
    close(ours, y)
    for a, b in zip(torch.autograd.grad(ours, inputs, g), expected, strict=True):
        close(a, b)
    with torch.no_grad():
        close(layer(x, residual=residual, gelu=extra == "gelu"), y)


def test_second_derivative(path):
    torch.manual_seed(0)
    layer, x = Linear(6, 4), torch.randn(3, 6, requires_grad=True)

    def curvature(forward):
        (slope,) = torch.autograd.grad(forward(x).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(slope.pow(2).sum(), [x, layer.weight])

    for a, b in zip(
        curvature(layer), curvature(lambda x: F.linear(x, layer.weight, layer.bias)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_frozen_weights_get_no_gradient(path):
    layer, x = Linear(8, 8).requires_grad_(False), torch.randn(2, 8, requires_grad=True)
    layer(x).sum().backward()
    close(x.grad, layer.weight.sum(0).expand(2, -1))
    assert layer.weight.grad is None
    residual = torch.zeros(2, 8, requires_grad=True)
    layer(x.detach(), residual=residual).sum().backward()
    assert torch.equal(residual.grad, torch.ones(2, 8))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_function_transforms(path):
    torch.manual_seed(0)
    layer, x = Linear(6, 4), torch.randn(5, 3, 6)
    slopes = torch.func.vmap(torch.func.grad(lambda row: layer(row).pow(2).sum()))(x)
    close(slopes, 2 * layer(x).detach() @ layer.weight.detach())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_take_the_ordinary_path(path, dtype):
    layer, x = Linear(8, 4).to(dtype), torch.randn(2, 8, dtype=dtype)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_autocast_is_respected(path):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(8, 4)(torch.randn(2, 8)).dtype == torch.bfloat16
