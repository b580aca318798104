"""Probes of sequences: two kinds of R2, heads, retrieval against an oracle, paths, splits, and the verb."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import anyjepa
from anyjepa.bundle import Bundle
from anyjepa.cli import main
from anyjepa.contract import Layout, Method, Representation
from anyjepa.data.modalities import modality
from anyjepa.data.views_config import ViewsConfig
from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.regression import fit_regression, global_r2, uniform_r2
from anyjepa.evaluation.sequence_features import part, read
from anyjepa.evaluation.sequence_tasks import (
    Setting,
    equivariance_scores,
    path_scores,
    retrieval_scores,
    sequence_scores,
)
from anyjepa.evaluation.sequences import probe_sequences
from fields import FIELDS, words

OBJECTS, VIEWS = 24, 8


@pytest.fixture
def turntable(tmp_path):
    """Images of one row of pixels: cosine and sine of the angle, a class, and the object."""
    rows = np.arange(OBJECTS * VIEWS)
    angle = 2 * np.pi / VIEWS * (rows % VIEWS)
    objects = rows // VIEWS
    pixels = np.stack(
        [0.5 + 0.4 * np.cos(angle), 0.5 + 0.4 * np.sin(angle), objects % 2, objects / OBJECTS], axis=1
    )
    np.savez(
        tmp_path / "t.npz",
        images=pixels[:, None].astype(np.float32),
        object=objects,
        angle=np.rad2deg(angle),
        labels=objects % 2,
    )
    config = ViewsConfig(size=(1, 4), observed=(2, 2), mean=(0.0,), std=(1.0,))
    return ViewsDataset(modality("views").open(tmp_path / "t.npz", config, labels=True), config)


class Oracle(Method):
    """Sees the pixels and turns them by the actions."""

    name = "oracle"

    def __init__(self, turns: bool = True) -> None:
        super().__init__()
        self.turns, self.nothing = turns, nn.Parameter(torch.zeros(1))

    def encode(self, x, *, encoder="target", layer=-1):
        if isinstance(x, Bundle):
            tokens = x["views"].flatten(2)
            return Representation(tokens, tokens.mean(dim=1), encoder, layer, Layout((tokens.shape[1],)))
        return Representation(x.flatten(1)[:, None], x.flatten(1), encoder, layer, Layout((1,)))

    def world_model(self):
        return self

    def start(self, x):
        return x["views"][:, -1].flatten(1)

    def advance(self, state, actions):
        if not self.turns:
            return state
        a, b = (state[:, :2] - 0.5).unbind(dim=1)
        cos, sin = actions.unbind(dim=1)
        return torch.cat(
            (torch.stack((a * cos - b * sin, a * sin + b * cos), dim=1) + 0.5, state[:, 2:]), dim=1
        )

    def latent(self, state):
        return state

    def goal(self, x):
        return x.flatten(1)


def sides(dataset):
    away = dataset.source.objects % 4 == 3
    return part(dataset, np.flatnonzero(~away)), part(dataset, np.flatnonzero(away))


def value(found, quantity, length=0):
    (one,) = [f.value for f in found if (f.quantity, f.length) == (quantity, length)]
    return one


def test_the_two_kinds_of_r2():
    truth, told = np.array([[0, 1], [1, 1.1], [2, 0.9]]), np.array([[0.1, 1], [0.9, 1], [2.1, 1]])
    assert uniform_r2(truth, told) == pytest.approx(0.4925)
    assert global_r2(truth, told) == pytest.approx(0.97525, abs=1e-5)
    from sklearn.metrics import r2_score

    y, p = np.random.default_rng(0).normal(size=(2, 50, 3)) + np.arange(3)
    assert uniform_r2(y, p) == pytest.approx(r2_score(y, p)) and global_r2(y, p) == pytest.approx(
        r2_score(y.ravel(), p.ravel())
    )
    assert uniform_r2(np.ones((5, 1)), np.ones((5, 1))) == global_r2(np.ones((5, 1)), np.ones((5, 1))) == 0


def test_heads_tell_what_can_be_told():
    draws = np.random.default_rng(0)
    x = draws.normal(size=(1200, 6)).astype(np.float32)
    line, product = x[:, :2] @ np.array([[1.0, 100], [2, 0]]) + 7, (x[:, :1] * x[:, 1:2])
    tell = {head: fit_regression(head, x[:900], product[:900], hidden=(64,)) for head in ("linear", "mlp")}
    assert uniform_r2(line[900:], fit_regression("linear", x[:900], line[:900])(x[900:])) > 0.99
    assert (
        uniform_r2(product[900:], tell["linear"](x[900:])) < 0.2
        and uniform_r2(product[900:], tell["mlp"](x[900:])) > 0.7
    )
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        fit_regression("lineal", x, line)
    with pytest.raises(DataError, match="too few"):
        fit_regression("linear", x[:5], line[:5])
    with pytest.raises(DataError, match="finite"):
        fit_regression("linear", x, line * np.nan)


def test_an_oracle_is_told_from_nothing(turntable):
    train, test = sides(turntable)
    setting = Setting(lengths=(1, 2), repeats=6, hidden=(64,))
    found = equivariance_scores(Oracle(), train, test, setting, train)
    assert value(found, "individual rotation R2, linear, uniform") > 0.99
    assert (
        value(found, "relative rotation R2, mlp, uniform")
        > 0.8
        > value(found, "relative rotation R2, linear, uniform")
    )
    assert value(found, "others: individual rotation R2, linear, global") > 0.99
    classes = sequence_scores(Oracle(), train, test, setting)
    assert [f.value for f in classes] == [1.0, 1.0, 1.0] and classes[1].length == 2


def test_retrieval_finds_what_is_turned_rightly(turntable):
    train, test = sides(turntable)
    right, blind = (
        retrieval_scores(Oracle(turns), train, test, Setting(lengths=(1, 3))) for turns in (True, False)
    )
    for length in (1, 3):
        assert [value(right, name, length) for name in ("MRR", "H@1", "H@5")] == [1, 1, 1]
        assert value(right, "PRE", length) == pytest.approx(0, abs=1e-6)
        chance = sum(1 / k for k in range(1, 9)) / 8
        assert value(right, "MRR by chance among 8", length) == pytest.approx(chance)
        # What stays is the last view itself, which is never the one that is looked for.
        assert value(blind, "H@1", length) == 0 and value(blind, "PRE", length) > 0.1


def test_among_equals_nothing_is_gained(turntable):
    class Dull(Oracle):
        def goal(self, x):
            return torch.ones(len(x), 4)

    found = retrieval_scores(Dull(), *sides(turntable), Setting(lengths=(1,)))
    assert value(found, "MRR", 1) == pytest.approx(1 / 4.5) and value(found, "H@1", 1) == 0


def test_paths_need_what_is_taken_away(turntable):
    method = anyjepa.create(
        "seq-jepa",
        size="nano",
        channels=1,
        image_size=[1, 4],
        action_dim=2,
        widths=[8],
        blocks=[1],
        dropout=0.0,
    )
    found = path_scores(
        method, *sides(turntable), Setting(lengths=(2,), repeats=6, heads=("mlp",), hidden=(64,))
    )
    whole, silent = value(found, "path R2, mlp", 2), value(found, "path R2 without actions, mlp", 2)
    assert whole > 0.5 > silent


def test_what_is_read_is_of_the_same_sequences_each_time(turntable):
    train, _ = sides(turntable)
    a, b, c = (read(Oracle(), train, 2, unseen=1, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(a.single, b.single) and not np.array_equal(a.single, c.single)
    assert a.aggregate.shape == (144, 4) and a.single.shape == (144, 3, 4) and a.actions.shape == (144, 2, 2)
    with pytest.raises(ConfigError, match="no way to leave"):
        read(Oracle(), train, 2, without="actions")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three steps, and its data."""
    folder = tmp_path_factory.mktemp("views")
    field = FIELDS["views"]
    data = field.write(folder)
    arguments = [
        "pretrain",
        "seq-jepa",
        "--data",
        str(data),
        "--out",
        str(folder / "run"),
        "--steps",
        "3",
        "--batch-size",
        "8",
    ]
    arguments += [*words("model", field.model), "--workers", "0", "--train.accelerator", "cpu"]
    assert main(arguments) == 0
    return folder / "run", data


@pytest.mark.parametrize("task", ["sequence", "equivariance", "retrieval", "path"])
def test_the_verb_scores_sequences(run, task, capsys):
    folder, data = run
    arguments = [
        "probe",
        str(folder),
        "--data",
        str(data),
        "--task",
        task,
        "--lengths",
        "1",
        "2",
        "--seeds",
        "0",
        "1",
    ]
    assert main([*arguments, *(["--probes", "linear"] if task in ("equivariance", "path") else [])]) == 0
    shown = capsys.readouterr().out
    assert (
        "a quarter of the objects held out" in shown
        and "pretrained" in shown
        and "untrained" in shown
        and " ± " in shown
    )
    stored = json.loads((folder / f"probe-{task}.json").read_text())
    assert stored["task"] == task and {s["seed"] for s in stored["scores"]} == {0, 1}


def test_what_cannot_be_scored_is_named(run, tmp_path):
    folder, data = run
    arrays = dict(np.load(data))
    del arrays["labels"]
    np.savez(tmp_path / "bare.npz", **arrays)
    with pytest.raises(DataError, match="labels"):
        probe_sequences([folder], tmp_path / "bare.npz", task="sequence")
    with pytest.raises(ConfigError, match="did you mean 'retrieval'"):
        probe_sequences([folder], data, task="retrieve")
    with pytest.raises(ConfigError, match="lengths"):
        probe_sequences([folder], data, task="path", lengths=(0,))
    with pytest.raises(DataError, match="sequence needs 12"):
        probe_sequences([folder], data, task="path", lengths=(11,))
