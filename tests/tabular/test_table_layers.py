"""Layers of the models of tables against what is computed by hand, adapters, and what networks see of a row."""

import numpy as np
import pytest
import torch
from torch import nn

from anyjepa.errors import ConfigError
from anyjepa.tabular.adapters import ADAPTERS, PerColumn, conv_fits, make_adapter
from anyjepa.tabular.crossing import DCNv2
from anyjepa.tabular.inputs import Columns, Inputs
from anyjepa.tabular.interacting import AutoInt, InteractingLayer
from anyjepa.tabular.networks import NETWORKS, make_network
from anyjepa.tabular.settings import draw, space
from anyjepa.tabular.training import Scaling

NAN = float("nan")


def test_a_cross_layer_multiplies_the_row_with_a_linear_map_of_itself():
    net = DCNv2(2, 1, cross_layers=2, deep_layers=1, deep_width=3, dropout=0.0, stacked=False)
    with torch.no_grad():
        net.cross[0].weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0]]))
        net.cross[0].bias.copy_(torch.tensor([0.5, 1.0]))
        net.cross[1].weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        net.cross[1].bias.zero_()
    # x0 = (2, 3): W x + b = (8.5, -2), times x0 (17, -6), plus x0 (19, -3). Then W x = (-3, 19): (-6, 57) + (19, -3).
    assert net.crossed(torch.tensor([[2.0, 3.0]])).tolist() == [[13.0, 54.0]]


def test_dcnv2_reads_side_by_side_or_one_behind_the_other():
    row = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    for stacked in (False, True):
        net = DCNv2(5, 2, cross_layers=1, deep_layers=2, deep_width=7, dropout=0.0, stacked=stacked)
        crossed = net.crossed(row)
        deep = net.deep(crossed if stacked else row)
        expected = net.head(deep if stacked else torch.cat((crossed, deep), dim=1))
        assert torch.equal(net(row), expected) and expected.shape == (4, 2)


def test_an_interacting_layer_attends_head_by_head_and_adds_a_linear_map():
    layer = InteractingLayer(4, 2, 0.0).eval()
    tokens = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(1))
    queries, keys, values = layer.project.weight.reshape(3, 2, 2, 4)
    expected = torch.zeros(3, 4)
    for head in range(2):
        q, k, v = (tokens[0] @ part[head].T for part in (queries, keys, values))
        for i in range(3):
            weights = [torch.exp(q[i] @ k[j] / 2**0.5).item() for j in range(3)]
            mixed = sum(w * v[j] for j, w in enumerate(weights)) / sum(weights)
            expected[i, 2 * head : 2 * head + 2] = mixed
    expected = (expected + tokens[0] @ layer.residual.weight.T).clamp(min=0)
    torch.testing.assert_close(layer(tokens)[0], expected, atol=1e-6, rtol=1e-5)


def test_autoint_reads_numbers_alone_codes_alone_and_both():
    numbers, codes = torch.randn(3, 2), torch.tensor([[0, 4], [2, 0], [1, 1]])
    options = dict(layers=1, width=4, heads=2, dropout=0.0)
    assert AutoInt(2, [], 2, **options)(numbers, None).shape == (3, 2)
    assert AutoInt(0, [3, 5], 2, **options)(None, codes).shape == (3, 2)
    both = AutoInt(2, [3, 5], 2, **options)
    found = both(numbers, codes)
    assert found.shape == (3, 2)
    changed = codes.clone()
    changed[0, 1] = 0
    assert not torch.equal(both(numbers, changed)[0], found[0]) and torch.equal(
        both(numbers, changed)[1:], found[1:]
    )


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("shape", [(10, 10), (14, 32), (12, 64)])
def test_adapters_make_one_number_a_column_of_which_all_can_learn(kind, shape):
    adapter = make_adapter(kind, *shape)
    tokens = torch.randn(5, *shape, requires_grad=True)
    found = adapter(tokens)
    assert found.shape == (5, shape[0])
    found.square().sum().backward()
    assert tokens.grad is not None and tokens.grad.abs().sum() > 0


def test_what_adapters_compute():
    tokens = torch.tensor([[[1.0, 4.0], [-3.0, 1.0]]])
    assert make_adapter("max_pool", 2, 2)(tokens).tolist() == [[4.0, 1.0]]
    assert make_adapter("mean_pool", 2, 2)(tokens).tolist() == [[2.5, -1.0]]
    each = make_adapter("linear_per_feature", 2, 2)
    assert isinstance(each, PerColumn)
    with torch.no_grad():
        each.weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 1.0]]))
        each.bias.copy_(torch.tensor([0.5, 0.0]))
    assert each(tokens).tolist() == [[1.5, -5.0]]


def test_adapters_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match="did you mean 'max_pool'"):
        make_adapter("maxpool", 12, 12)
    assert not conv_fits(9, 64) and conv_fits(10, 10)
    with pytest.raises(ConfigError, match="at least 10 columns"):
        make_adapter("conv", 8, 64)
    small = Inputs(tokens=np.zeros((4, 8, 64), np.float32))
    drawn = {draw("mlp", small, trial, 0)["adapter"] for trial in range(60)}
    assert drawn == set(ADAPTERS) - {"conv"}


def rows() -> Inputs:
    values = [[0.5, 1, NAN, 2], [NAN, 0, 1.0, NAN], [-1.0, 2, 0.0, 0]]
    return Inputs(np.array(values, np.float32), (0, 3, 0, 3))


def test_networks_see_gaps_codes_and_marks():
    seen = Columns.of(rows())
    assert seen.gaps == (0, 2) and seen.numbers == 4 and seen.categories == [4, 4]
    given = torch.from_numpy(rows().values)
    assert seen.numeric(given).tolist() == [[0.5, 0, 0, 1], [0, 1, 1, 0], [-1, 0, 0, 0]]
    assert seen.codes(given).tolist() == [[1, 2], [0, 3], [2, 0]]
    # A number and its mark, then three categories and the mark of none, twice.
    assert seen.vector(given)[1].tolist() == [0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1] and seen.width == 12


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_take_rows_and_tokens(kind):
    pytest.importorskip("rtdl_revisiting_models", reason="it is in the extra 'models'")
    tokens = Inputs(tokens=np.random.default_rng(0).normal(size=(3, 12, 16)).astype(np.float32))
    for inputs in (rows(), tokens):
        net = make_network(kind, draw(kind, inputs, 0, 0), inputs, 2).eval()
        assert isinstance(net, nn.Module) and net(torch.from_numpy(inputs.values)).shape == (3, 2)
    for values, kinds in (([[1.0, 2.0], [0.0, 1.0]], (0, 0)), ([[1.0, 2.0], [0.0, NAN]], (2, 3))):
        inputs = Inputs(np.array(values, np.float32), kinds)
        net = make_network(kind, draw(kind, inputs, 0, 0), inputs, 1).eval()
        assert net(torch.from_numpy(inputs.values)).shape == (2, 1)


def test_inputs_are_rows_or_tokens():
    with pytest.raises(TypeError, match="one of the two"):
        Inputs()
    assert len(rows().take(np.array([2, 0]))) == 2 and rows().take(np.array([2, 0])).values[0, 1] == 2


def test_quantiles_are_those_of_the_training_rows_and_gaps_stay():
    train = Inputs(np.array([[float(i), i % 3] for i in range(100)], np.float32), (0, 3))
    scaling = Scaling("quantile", train, 0)
    later = Inputs(np.array([[1e9, 2.0], [NAN, NAN], [49.5, 0.0]], np.float32), (0, 3))
    found = scaling(later)
    assert found[0, 0] == scaling(train)[:, 0].max() and found[1].isnan().all()
    assert abs(found[2, 0]) < 0.2 and found[[0, 2], 1].tolist() == [2.0, 0.0]
    assert torch.equal(
        Scaling("read", train, 0)(later).nan_to_num(), torch.from_numpy(later.values).nan_to_num()
    )


def test_trials_are_drawn_by_number_and_seed_alone():
    drawn = [draw("mlp", rows(), trial, 3) for trial in range(20)]
    assert drawn == [draw("mlp", rows(), trial, 3) for trial in range(20)]
    assert drawn[0] == {name: default for name, (default, _) in space("mlp", rows()).items()}
    assert len({repr(d) for d in drawn}) == 20 and drawn[1] != draw("mlp", rows(), 1, 4)
    assert {d["dropout"] == 0.0 for d in drawn} == {True, False}
    assert all(1e-4 <= d["lr"] <= 5e-3 for d in drawn)
