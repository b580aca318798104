"""Nobody is in training and in test."""

import numpy as np
import pytest

from anyjepa import create
from anyjepa.data import ImageDataset, Source
from anyjepa.data.given import as_source
from anyjepa.errors import DataError
from anyjepa.evaluation.features import Features
from anyjepa.evaluation.labelled import join
from anyjepa.evaluation.online import OnlineProbe
from anyjepa.evaluation.splits import group_folds


class People(Source):
    channels = 1

    def __init__(self, groups, names, labels):
        self.groups, self.group_names, self.labels = np.array(groups), names, np.array(labels)

    def __len__(self):
        return len(self.groups)

    def read(self, i):
        raise AssertionError

    def identity(self, i):
        return str(i)


def features(source):
    index = np.arange(len(source))
    return Features({"x": np.zeros((len(index), 2), np.float32)}, source.labels, index)


def people(count, each, first=0):
    groups = np.repeat(np.arange(count), each)
    return People(groups, tuple(f"p{first + g}" for g in range(count)), groups % 2)


def test_folds_keep_groups_whole_and_classes_spread():
    source = people(20, 3)
    fold = group_folds(source.labels, source.groups, 5, seed=0)
    for group in range(20):
        assert len(set(fold[source.groups == group])) == 1
    assert all(len(np.unique(source.labels[fold == k])) == 2 for k in range(5))
    assert not np.array_equal(fold, group_folds(source.labels, source.groups, 5, seed=1))


def test_a_fifth_of_the_people_is_held_out():
    source = people(20, 3)
    data = join(features(source), source, None, None)
    inside, outside = data.split(0)
    assert not set(source.groups[inside]) & set(source.groups[outside])
    assert len(set(source.groups[outside])) == 4
    assert "whole groups" in data.notes[0]


def test_too_few_people():
    source = people(4, 9)
    with pytest.raises(DataError, match="of 4 groups"):
        join(features(source), source, None, None).split(0)


def test_too_few_of_every_class():
    source = People(range(12), tuple(map(str, range(12))), np.arange(12) // 3)
    with pytest.raises(DataError, match="cannot be cut into 5 folds"):
        join(features(source), source, None, None).split(0)


def test_people_on_both_sides_are_refused_by_name():
    train, test = people(6, 2), people(6, 2, first=5)
    with pytest.raises(DataError, match=r"1 groups .* \(p5\)"):
        join(features(train), train, features(test), test)
    apart = people(6, 2, first=6)
    assert join(features(train), train, features(apart), apart).train_size == 12


def test_the_online_probe_recognises_nobody():
    draws = np.random.default_rng(0)
    faces = draws.integers(0, 200, (20, 8, 8), dtype=np.uint8)
    # Four nearly equal pictures of each person, whose class is in nothing but the person.
    pixels = np.repeat(faces, 4, axis=0) + draws.integers(0, 9, (80, 8, 8), dtype=np.uint8)
    source = as_source(pixels)
    source.labels = np.repeat(draws.permutation(20) % 2, 4)
    dataset = ImageDataset(source, size=8)
    method = create(
        "ijepa", image_size=(8, 8), channels=1, patch_size=2, size="nano", dim=16, depth=1, heads=2
    )
    assert OnlineProbe(dataset, 80)(method)["probe_knn"] > 0.75
    source.groups = np.repeat(np.arange(20), 4)
    assert OnlineProbe(dataset, 80)(method)["probe_knn"] < 0.65
