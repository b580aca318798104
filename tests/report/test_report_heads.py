"""Heads in the report: where electrodes lie on the page, what is drawn as hidden, errors of each electrode."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pages import Page

from anyjepa import Batch, create
from anyjepa.contract import Masks, Method
from anyjepa.data.eeg import from_arrays
from anyjepa.data.eeg_config import EEGConfig
from anyjepa.data.eeg_modality import EEG
from anyjepa.errors import DataError
from anyjepa.report.heads import (
    HIDDEN,
    SEEN,
    _hidden_shares,
    electrode_errors,
    flat_places,
    hidden_section,
    strips,
)
from anyjepa.report.samples import Samples

pytest.importorskip("matplotlib", reason="Matplotlib draws the heads")

NAMES = ("Front", "Back", "Left", "Right", "Crown", "LeftBack", "RightBack", "Low", "Nowhere")
PLACES = 0.1 * np.array(
    [
        [0, 1, 0],
        [0, -1, 0],
        [-1, 0, 0],
        [1, 0, 0],
        [0, 0, 1],
        [-0.6, -0.6, 0.53],
        [0.6, -0.6, 0.53],
        [0, 0.94, -0.34],
        [np.nan] * 3,
    ]
)


def samples_of(n=6, positions=PLACES, bad=None):
    draws = np.random.default_rng(0)
    # All electrodes see one source, so that they can be predicted from each other.
    x = np.repeat(np.cumsum(draws.normal(size=(n, 1, 280)), axis=2), len(NAMES), axis=1)
    if bad is not None:
        x[:, bad] = draws.normal(size=(n, 280))
    windows = from_arrays(
        x,
        NAMES,
        128.0,
        positions=positions,
        config=EEGConfig(samples=280, band=None, montage="file", unknown="keep"),
    )
    data = EEG().dataset(windows, EEGConfig())
    rows = np.arange(n)
    return Samples(data, EEG(), "somewhere", rows, rows, windows.batch(rows), rows[:4])


@pytest.fixture(scope="module")
def method():
    places = [[] if np.isnan(row).any() else row.tolist() for row in PLACES]
    fields = dict(dim=32, hidden=32, dropout=0.0, channels=NAMES, positions=places, samples=280)
    return create("sjepa", size="nano", **fields, masks={"radius": 0.09}).eval()


def svg(picture):
    import base64

    return base64.b64decode(picture.uri.split(",")[1]).decode()


@pytest.mark.parametrize("moved", [(0.0, 0.0, 0.0), (0.01, -0.02, 0.03)])
def test_the_head_is_seen_from_above(moved):
    flat = flat_places(PLACES + moved)
    expected = [[0, 1], [0, -1], [-1, 0], [1, 0], [0, 0]]
    np.testing.assert_allclose(flat[:5], expected, atol=0.02)
    assert np.hypot(*flat[7]) > 1.1 and abs(flat[7, 0]) < 0.01, "what lies below the rim lies outside"
    assert np.isnan(flat[8]).all()


def test_shares_of_the_time_that_channels_are_hidden():
    masks = Masks(torch.tensor([[0, 1], [4, 5]]), torch.tensor([[[2, 3, 5, 5]], [[0, 1, 2, 3]]]))
    assert _hidden_shares(masks, 3, 2).tolist() == [[0, 1, 0.5], [1, 1, 0]]


def test_hidden_electrodes_are_orange(method):
    samples = samples_of()
    section = hidden_section(method, samples, 3)
    drawing = svg(section.figures[0][0])
    masks = method(Batch(samples.inputs[:4], torch.arange(4), step=0, seed=3)).masks
    hidden = _hidden_shares(masks, 9, 2) > 0
    assert drawing.count(f"fill: {HIDDEN}") == hidden[:, :8].sum() > 0
    assert drawing.count(f"fill: {SEEN}") == 4 * 8 - hidden[:, :8].sum()
    assert f"{hidden.mean():.0%} of all" in section.summary and "for the whole window" in section.summary
    for row in hidden:
        assert f"{row.sum()} of 9 hidden" in drawing
    assert "Nowhere" not in drawing


def test_strips_show_the_signals(method):
    section = strips(method, samples_of(), 0)
    assert len(section.figures) == 4
    drawing = svg(section.figures[0][0])
    assert all(name in drawing for name in NAMES) and "at 0.00 s" in section.figures[0][1]
    assert HIDDEN in drawing and SEEN in drawing


class WrongAt(Method):
    """Predictions that are perfect but at one electrode."""

    def __init__(self, method, electrode):
        super().__init__()
        self.method, self.electrode = method, electrode

    def encode(self, x, *, encoder="target", layer=-1):
        return self.method.encode(x, encoder=encoder, layer=layer)

    def forward(self, batch):
        output = self.method(batch)
        wrong = (output.masks.targets // 2 == self.electrode).unsqueeze(-1)
        return replace(output, predicted=output.target + 2.0 * wrong)


def test_the_electrode_that_is_not_predicted_is_found(method):
    samples = samples_of(24)
    section = electrode_errors(WrongAt(method, NAMES.index("Crown")), samples, 0)
    assert section.figures[0][1].endswith("; worst: Crown") and "Nowhere" not in section.figures[0][1]
    perfect = electrode_errors(WrongAt(method, -1), samples, 0)
    assert "Over all it is 0.00" in perfect.summary and "Over all it is 0.00" not in section.summary
    assert electrode_errors(WrongAt(method, -1), samples, 0) == perfect, "the same page each time"


def test_what_cannot_be_drawn_is_said(method):
    nowhere = samples_of(positions=np.full((9, 3), np.nan))
    with pytest.raises(DataError, match="no place of an electrode"):
        hidden_section(method, nowhere, 0)
    with pytest.raises(DataError, match="one window"):
        electrode_errors(method, samples_of(1), 0)


def test_the_page_has_the_sections(tmp_path):
    from anyjepa.pretraining import pretrain
    from anyjepa.report import write_report
    from anyjepa.training import RunConfig
    from fields import FIELDS

    field = FIELDS["eeg"]
    values = dict(
        method="sjepa",
        data=str(field.write(tmp_path)),
        out=str(tmp_path / "run"),
        eeg=field.options,
        model=field.model | dict(optim=dict(steps=2)),
        train=dict(batch_size=8, workers=0, log_every=1, accelerator="cpu"),
    )
    pretrain(RunConfig.from_mapping(values))
    page = Page(write_report(tmp_path / "run").read_text())
    sections = [a["id"] for tag, a in page.elements if tag == "section"]
    assert sections[:4] == ["curves", "electrodes", "signals", "errors"]
    for name in ("electrodes", "signals", "errors"):
        assert "cannot" not in page.text[name], page.text[name]
