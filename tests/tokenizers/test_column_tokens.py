"""Tokens of table columns: numbers, categories, missing values, registers, positions."""

import math

import pytest
import torch

from anyjepa.errors import ConfigError
from anyjepa.nn.positions import sincos_table
from anyjepa.tokenizers.columns import ColumnTokenizer

MIXED = (0, 3, 0, 2)
NAN = float("nan")


def rows(*values):
    return torch.tensor(values)[:, None]


def test_positions_of_the_sheet():
    table = sincos_table((2,), 4, interleaved=True, base=100.0)
    torch.testing.assert_close(
        table[1], torch.tensor([0.84147, 0.54030, 0.09983, 0.99500]), atol=1e-5, rtol=0
    )
    predictor = sincos_table((2,), 4)
    expected = torch.tensor([math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)])
    torch.testing.assert_close(predictor[1], expected)


def test_each_kind_of_value_becomes_its_token():
    made = ColumnTokenizer(MIXED, 8, registers=2, index=True)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    tokens = made(rows([0.5, 2.0, -1.0, NAN]))
    assert tokens.shape == (1, 6, 8)
    extra = made.bias + made.types.weight[made.kinds] + made.index.weight
    expected = torch.stack(
        [
            0.5 * made.weight[0],
            made.embedding.weight[2],
            -1.0 * made.weight[1],
            made.missing[3],
        ]
    )
    torch.testing.assert_close(tokens[0, 2:], expected + extra)
    torch.testing.assert_close(tokens[0, :2], made.registers)


def test_an_unknown_category_is_missing_and_a_missing_number_starts_as_the_mean():
    made = ColumnTokenizer(MIXED, 8)
    with torch.no_grad():
        made.missing[1:].normal_()
    missing = made(rows([0.0, NAN, 1.0, 1.0]))
    for strange in (-1.0, 3.0, 1e9, -1e9):
        assert torch.equal(made(rows([0.0, strange, 1.0, 1.0])), missing)
    assert torch.equal(made(rows([NAN, NAN, 1.0, 1.0])), missing)


def test_official_tokens_stand_numbers_first_with_the_types_of_the_wrong_columns():
    made = ColumnTokenizer(MIXED, 8, missing=False, numbers_first=True)
    x = rows([0.5, 2.0, -1.0, 1.0])
    tokens = made(x)[0, 1:]
    plain = torch.stack(
        [0.5 * made.weight[0], -1.0 * made.weight[1], made.embedding.weight[2], made.embedding.weight[4]]
    )
    assert made.order.tolist() == [0, 2, 1, 3]
    torch.testing.assert_close(tokens, plain + made.bias[made.order] + made.types.weight[[0, 1, 0, 1]])
    with pytest.raises(ConfigError, match="column 3 has missing"):
        made(rows([0.5, 2.0, -1.0, NAN]))


def test_start_of_the_weights():
    made = ColumnTokenizer((0,) * 200, 16)
    for parameter in (made.weight, made.bias):
        assert 0.24 < float(parameter.detach().abs().max()) <= 0.25
    assert not made.missing.any()
