"""Codes of places and of time: the figures of the S-JEPA sheet."""

import math

import pytest
import torch

from anyjepa.errors import ConfigError
from anyjepa.nn.electrodes import ElectrodeCode, place_code, places_of, time_code

SCALE = 0.114892
"""Largest absolute coordinate of the 62 channels of Lee2019."""


def test_code_of_cz_and_oz():
    places = torch.tensor([[0.0004009, 0.0, 0.0], [0.0, -SCALE, 0.0]], dtype=torch.float64)
    code = place_code(places, 30, SCALE)
    cz = [0.1858, 0.9826, 0.0532, 0.9986, 0.0151, 0.9999, 0.0043, 1.0, 0.0012, 1.0]
    oz = [0.1416, -0.9899, -0.4505, -0.8928, 0.9306, -0.3661, -0.9440, 0.3300, -0.3442, 0.9389]
    torch.testing.assert_close(code[0, :10], torch.tensor(cz), rtol=0, atol=6e-5)
    torch.testing.assert_close(code[1, 10:20], torch.tensor(oz), rtol=0, atol=6e-5)


def test_frequencies_of_places():
    # The sine of a small angle is the angle: u = 1e-6 / (10 * 0.1).
    code = place_code(torch.tensor([[1e-6, 0.0, 0.0]], dtype=torch.float64), 30, 0.1)
    expected = torch.tensor([535.49, 152.41, 43.376, 12.345, 3.5136]) * 1e-6
    torch.testing.assert_close(code[0, :10:2], expected, rtol=1e-4, atol=0)


def test_code_of_time():
    code = time_code(3, 34)
    torch.testing.assert_close(code[1, :4], torch.tensor([0.8415, 0.5403, 0.6338, 0.7735]), rtol=0, atol=6e-5)
    torch.testing.assert_close(code[1, -2:], torch.tensor([0.0024, 1.0]), rtol=0, atol=6e-5)
    assert torch.equal(code[0], torch.tensor([0.0, 1.0] * 17))


def test_an_unknown_place_has_a_row_of_zeros():
    places = places_of([(0.01, 0.02, 0.03), ()])
    code = place_code(torch.from_numpy(places), 12, 0.1)
    assert (code[1] == 0).all() and (code[0] != 0).all()


def test_tokens_are_channel_by_channel_and_halves_can_change_places():
    places = torch.rand(3, 3, dtype=torch.float64) / 10
    code = ElectrodeCode(places, dim=64, spatial=30, scale=0.1)
    found = code(4)
    assert found.shape == (12, 64) and code.table.requires_grad
    assert torch.equal(found[5, :30], code.table[1]) and torch.equal(found[5, 30:], time_code(4, 34)[1])
    swapped = ElectrodeCode(places, dim=64, spatial=30, scale=0.1, time_first=True)(4)
    assert torch.equal(swapped, torch.cat((found[:, 30:], found[:, :30]), dim=1))


def test_a_movement_of_the_head_frame_changes_codes_smoothly():
    """Half the head away is another code, a hundredth of a millimetre is nearly the same one."""
    here = torch.tensor([[0.05, 0.02, 0.06]], dtype=torch.float64)
    codes = place_code(torch.cat((here, here + 1e-5, -here)), 30, 0.1)
    assert (
        math.dist(codes[0].tolist(), codes[1].tolist())
        < 0.02
        < math.dist(codes[0].tolist(), codes[2].tolist())
    )


@pytest.mark.parametrize("width, scale", [(10, 0.1), (0, 0.1), (30, 0.0)])
def test_impossible_widths(width, scale):
    with pytest.raises(ConfigError, match=r"multiple of 6|above 0"):
        place_code(torch.zeros(2, 3), width, scale)
