"""Samples of more than one part, by themselves and through the loader."""

import numpy as np
import pytest
import torch

from anyjepa.bundle import Bundle, blank, described, join, samples_in
from anyjepa.data import build_loader, load_all
from anyjepa.data.base import Source
from anyjepa.data.dataset import Dataset
from anyjepa.errors import DataError


def some(n=5, start=0):
    return Bundle(
        {
            "image": torch.arange(start, start + n).float()[:, None, None, None].expand(n, 3, 2, 2),
            "state": torch.rand(n, 4),
        }
    )


def test_a_part_by_name_and_samples_by_position():
    bundle = some()
    assert bundle["state"].shape == (5, 4) and set(bundle) == {"image", "state"}
    assert bundle.samples == samples_in(bundle) == 5
    for rows in ([3, 1], torch.tensor([3, 1]), np.array([3, 1])):
        assert bundle[rows]["image"][:, 0, 0, 0].tolist() == [3, 1]
    assert [piece.samples for piece in bundle.split(2)] == [2, 2, 1]


def test_split_and_joined_it_is_the_same():
    bundle = some()
    again = join(bundle.split(2))
    assert all(torch.equal(again[name], bundle[name]) for name in bundle)
    copy = bundle.clone()
    copy["state"].zero_()
    assert bundle["state"].abs().sum() > 0


def test_parts_must_agree():
    with pytest.raises(DataError, match="same number of samples"):
        Bundle({"image": torch.zeros(2, 3), "state": torch.zeros(3, 3)})
    with pytest.raises(DataError, match="same number of samples"):
        Bundle({})
    with pytest.raises(DataError, match="different parts"):
        join([some(), Bundle({"state": torch.zeros(1, 4)})])


def test_shapes():
    shape = {"image": (3, 2, 2), "state": (4,)}
    assert {name: tuple(part.shape) for name, part in blank(shape, 6).items()} == {
        "image": (6, 3, 2, 2),
        "state": (6, 4),
    }
    assert blank((3, 4)).shape == (1, 3, 4)
    assert described(shape) == "image 3 x 2 x 2, state 4"


class _Source(Source):
    labels, class_names, channels = np.arange(7), None, 3

    def __len__(self):
        return 7

    def read(self, i):
        return torch.full((3,), float(i))

    def identity(self, i):
        return str(i)


class _Parts(Dataset):
    """Trains on pairs of a sample and its double, evaluates single ones."""

    shape = {"value": (3,)}  # noqa: RUF012

    def draw(self, step, indices, seed):
        read = torch.stack([self.read(i)[0] for i in indices.tolist()])
        return Bundle({"value": read, "double": 2 * read})

    def finish(self, samples):
        return Bundle({"value": torch.stack(samples)})


class _Config:
    max_broken = 0.1


@pytest.mark.parametrize("workers", [0, 1])
def test_it_travels_through_the_loader(workers):
    loader = build_loader(_Parts(_Source(), _Config()), seed=0, batch_size=4, steps=3, workers=workers)
    for batch in loader:
        assert torch.equal(batch.inputs["double"], 2 * batch.inputs["value"])
        assert batch.inputs["value"][:, 0].tolist() == batch.index.tolist()
        assert isinstance(batch.to("cpu").inputs, Bundle)


def test_evaluation_reads_parts():
    loaded = list(load_all(_Parts(_Source(), _Config()), batch_size=3))
    assert [each.inputs.samples for each in loaded] == [3, 3, 1]
    assert loaded[1].inputs["value"][:, 0].tolist() == loaded[1].labels.tolist() == [3, 4, 5]
