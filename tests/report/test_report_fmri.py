"""Pictures of runs on brain scans."""

import numpy as np
import pytest
import torch

from anyjepa import create
from anyjepa.contract import Masks
from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.fmri_dataset import FmriDataset, ScaledScans
from anyjepa.data.fmri_modality import Fmri
from anyjepa.data.fmri_synthetic import synthetic_scans
from anyjepa.data.gradients import as_rows, diffusion_gradients, group_connectivity
from anyjepa.errors import DataError
from anyjepa.report.fmri import (
    error_figures,
    gradient_figures,
    kinds_of,
    mask_figures,
    networks,
    region_errors,
    region_names,
)
from anyjepa.report.samples import Samples

ROIS = 18


@pytest.fixture(scope="module")
def samples():
    source = FmriSource.of(synthetic_scans(12, ROIS, 40).scans, FmriConfig(frames=32, tr=2.0))
    dataset = FmriDataset(ScaledScans(source))
    index = np.arange(12)
    return Samples(dataset, Fmri(), "scans", index, index, dataset.evaluation(index), np.arange(4))


def build(samples, **fields):
    table = diffusion_gradients(group_connectivity(samples.dataset.source.scans.scans()), 4)
    small = dict(dim=16, depth=1, heads=2, predictor_width=8, predictor_depth=1, patch_size=4)
    return create(
        "brainjepa", **(small | dict(rois=ROIS, frames=32, gradients=as_rows(table)) | fields)
    ).eval()


def test_every_token_has_its_kind():
    # Three regions, four times; region 0 is seen at times 0 and 1.
    masks = Masks(torch.tensor([[0, 1]]), torch.tensor([[[2, 5, 10]]]))
    assert kinds_of(masks, (3, 4)).tolist() == [[[1, 1, 3, 0], [0, 2, 0, 0], [0, 0, 4, 0]]]
    padded = Masks(torch.tensor([[0, 0]]), torch.tensor([[[5]]]), torch.tensor([[True, False]]))
    assert kinds_of(padded, (3, 4))[0].tolist() == [[1, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]]


def test_figures(samples):
    method = build(samples)
    for make, words in (
        (mask_figures, f"{ROIS} regions x 8 times"),
        (error_figures, "12 scans"),
        (gradient_figures, "4 gradients are given"),
    ):
        section = make(method, samples, 0)
        assert words in section.summary and len(section.figures) == 1
        picture, _ = section.figures[0]
        assert picture.uri.startswith("data:image/svg") and picture.alt
        assert make(method, samples, 0) == section, "the same page each time"


def test_errors_of_regions(samples):
    method = build(samples)
    error, count = region_errors(method, samples, 0)
    assert error.shape == (ROIS,) and (count > 0).all() and np.isfinite(error).all()
    # A region on which all predictions are perfect.
    forward = method.forward

    def told(batch):
        output = forward(batch)
        there = (output.masks.targets // 8 == 5)[..., None]
        output.predicted = torch.where(there, output.target, output.predicted)
        return output

    method.forward = told
    better, _ = region_errors(method, samples, 0)
    assert better[5] == 0.0 and np.allclose(np.delete(better, 5), np.delete(error, 5))


def test_what_cannot_be_drawn_is_said(samples):
    with pytest.raises(DataError, match="placed by their number"):
        gradient_figures(build(samples, positions="index"), samples, 0)


def test_regions_are_grouped_by_their_names(samples):
    assert region_names(samples)[:2] == ["1", "2"]
    schaefer = [
        f"17Networks_{h}_{n}_{i}" for h in ("LH", "RH") for n in ("VisCent", "DefaultA") for i in range(3)
    ]
    assert set(networks(schaefer)) == {"Vis", "Default"}
    assert (
        networks(
            ["Frontal_Sup_L", "Frontal_Mid_L", "Occipital_L", "Occipital_R", "Occipital_Mid", "Frontal_R"]
        )[2]
        == "Occipital"
    )
    assert set(networks(["a", "b", "c"])) == {""}
