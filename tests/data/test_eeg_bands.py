"""Band powers say which rhythm a channel has."""

import torch

from anyjepa.data.eeg_bands import BANDS, band_powers


def test_a_sine_is_in_its_band():
    seconds = torch.arange(256) / 128
    waves = torch.stack([10 * torch.sin(2 * torch.pi * hertz * seconds) for hertz in (2, 6, 10, 20, 40)])
    found = band_powers(128.0)(waves[:, None])
    assert found.shape == (5, len(BANDS))
    assert torch.equal(found.argmax(dim=1), torch.arange(5))
    louder = band_powers(128.0)(2 * waves[:, None]) - found
    torch.testing.assert_close(louder.diagonal(), torch.full((5,), 4.0).log())


def test_bands_that_a_window_cannot_tell_are_left_out():
    flat = torch.zeros(2, 3, 32)
    found = band_powers(128.0)(flat)
    # 4 Hz steps: nothing lies below 4 Hz but the mean.
    assert found.shape == (2, 3 * 4) and torch.isfinite(found).all()
    assert band_powers(40.0)(flat).shape == (2, 3 * 4)
