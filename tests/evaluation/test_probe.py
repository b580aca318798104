"""The probe of a run: table, JSON, splits, baselines, errors; and on real digits whether pretraining pays."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from anyjepa.config import to_dict
from anyjepa.contract import Layout, Method, Representation
from anyjepa.data import ImageConfig, ImageDataset, open_source
from anyjepa.data.raw import averages
from anyjepa.errors import CheckpointError, ConfigError, DataError
from anyjepa.evaluation import ProbeResult, encoder_reader, extract, probe
from anyjepa.evaluation.features import untrained
from anyjepa.pretraining import pretrain
from anyjepa.registry import create
from anyjepa.training import RunConfig, TrainConfig

TINY = dict(dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2, patch_size=2)


def tiny(out, **train) -> RunConfig:
    model = dict(TINY, optim=dict(steps=2), masks=dict(target_scale=[0.15, 0.3]))
    return RunConfig.from_mapping(
        dict(method="ijepa", model=model, data="digits:train", out=str(out), images=dict(limit=64))
        | dict(train=to_dict(TrainConfig(batch_size=8, workers=0, accelerator="cpu", **train)))
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "tiny"
    pretrain(tiny(out))
    return out


@pytest.fixture(scope="module")
def result(run):
    return probe(run, "digits:train", "digits:test", labels=(50, None), seeds=(0, 1))


def write(path, images, labels):
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def test_every_kind_of_features_has_a_row_for_every_budget(result):
    assert [(r.features, r.labels) for r in result.rows] == [
        (name, n) for n in (50, result.train_size) for name in ("pretrained", "untrained", "raw")
    ]
    assert {r.features: r.dims for r in result.rows} == {"pretrained": 16, "untrained": 16, "raw": 64}
    assert all(len(r.knn) == len(r.linear) == 2 for r in result.rows)
    assert result.train_size + result.test_size == 1797 and result.classes == 10
    assert result.row("raw").labels == result.train_size


def test_raw_digits_score_what_they_are_known_to_score(result):
    raw = result.row("raw")
    assert min(raw.knn) > 0.95 and min(raw.linear) > 0.93
    assert result.row("raw", 50).linear[0] < min(raw.linear)
    assert 0.09 < result.chance < 0.12


def test_the_table_states_the_protocol(result):
    text = str(result)
    for word in (
        "target encoder",
        "mean of the tokens",
        "block -1",
        "standardised",
        "20 neighbours",
        "seeds 0, 1",
    ):
        assert word in text
    for row in result.rows:
        assert f"{100 * np.mean(row.linear):.1f} ± {100 * np.std(row.linear, ddof=1):.1f}" in text


def test_the_result_survives_json(run, result):
    assert ProbeResult.from_json(result.to_json()) == result == ProbeResult.load(run)
    score = json.loads((run / "probe.json").read_text())["rows"][0]["scores"][0]
    assert score["probe"] == "knn" and score["mean"] == pytest.approx(np.mean(score["values"]))
    assert score["std"] == pytest.approx(np.std(score["values"], ddof=1))
    with pytest.raises(DataError, match="not the result"):
        ProbeResult.from_json('{"rows": 3}')
    with pytest.raises(DataError, match="run a probe first"):
        ProbeResult.load(run / "nowhere")


def test_without_a_test_set_a_fifth_is_held_out(run):
    result = probe(run, "digits:test", baselines=("raw",), seeds=(0, 1))
    assert result.test_size == pytest.approx((result.train_size + result.test_size) / 5, abs=1)
    assert any("held out" in note for note in result.notes) and "held out" in str(result)
    assert [r.features for r in result.rows] == ["pretrained", "raw"]
    assert result.row("raw").linear[0] != result.row("raw").linear[1]  # another fifth for each seed


def test_test_labels_choose_nothing(run, tmp_path):
    source = open_source("digits:test", labels=True)
    images = np.stack([source.read(i)[0].numpy() for i in range(200)])
    draw = np.random.default_rng(0)
    labels, wrong = source.labels[:200], draw.permutation(source.labels[:200])
    honest = probe(run, "digits:train", write(tmp_path / "a.npz", images, labels), labels=30, baselines=())
    swapped = probe(run, "digits:train", write(tmp_path / "b.npz", images, wrong), labels=30, baselines=())
    assert honest.row("pretrained").linear != swapped.row("pretrained").linear
    again = probe(run, "digits:train", tmp_path / "a.npz", labels=30, baselines=())
    assert again.rows == honest.rows


def test_data_without_labels_say_how_to_give_them(run, tmp_path):
    np.save(tmp_path / "bare.npy", np.zeros((20, 8, 8), dtype=np.uint8))
    with pytest.raises(DataError, match="labels"):
        probe(run, tmp_path / "bare.npy")


def test_one_class_is_refused(run, tmp_path):
    data = write(tmp_path / "one.npz", np.arange(20 * 64).reshape(20, 8, 8) % 251, np.full(20, 3))
    with pytest.raises(DataError, match=r"at least two classes.*20.*3"):
        probe(run, data)


def test_classes_unseen_in_training_are_counted(run, tmp_path):
    draw = np.random.default_rng(0)
    train = write(tmp_path / "train.npz", draw.integers(0, 255, (40, 8, 8)), np.arange(40) % 2)
    test = write(tmp_path / "test.npz", draw.integers(0, 255, (9, 8, 8)), np.arange(9) % 3)
    result = probe(run, train, test)
    assert any("3 test samples count as wrong: 1 of 3 test classes" in note for note in result.notes)
    assert max(max(r.linear) for r in result.rows) <= 6 / 9
    strange = write(tmp_path / "strange.npz", draw.integers(0, 255, (9, 8, 8)), np.full(9, 7))
    with pytest.raises(DataError, match="none of the test classes"):
        probe(run, train, strange)


def test_a_full_stop_behind_all_test_classes_is_taken_off(run, tmp_path):
    draw = np.random.default_rng(0)
    images, names = draw.integers(0, 255, (60, 8, 8)), np.array(["<=50K", ">50K"])[np.arange(60) % 2]
    train = write(tmp_path / "train.npz", images[:40], names[:40])
    plain = probe(run, train, write(tmp_path / "plain.npz", images[40:], names[40:]))
    stopped = probe(run, train, write(tmp_path / "stops.npz", images[40:], np.char.add(names[40:], ".")))
    assert stopped.rows == plain.rows
    assert any("'<=50K.' is '<=50K'" in note for note in stopped.notes) and not plain.notes
    half = np.where(np.arange(20) % 2, np.char.add(names[40:], "."), names[40:])
    mixed = probe(run, train, write(tmp_path / "mixed.npz", images[40:], half))
    assert any("10 test samples count as wrong" in note for note in mixed.notes)


def test_classes_are_matched_by_name(run, tmp_path):
    """A test folder without the first class would number the others differently."""
    from PIL import Image

    for part, names in (("train", "abc"), ("test", "bc")):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(6):
                pixels = np.zeros((8, 8), dtype=np.uint8)
                pixels[:, 3 * "abc".index(name) : 3 * "abc".index(name) + 2] = 200 + i
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    result = probe(run, tmp_path / "train", tmp_path / "test")
    assert result.row("raw").linear == (1.0,) and result.row("raw").knn == (1.0,)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(labels=3), "number of classes, 10"),
        (dict(encoder="targt"), "target"),
        (dict(layers=(-7,)), "layers"),
        (dict(pooling="max"), "mean"),
        (dict(baselines=("row",)), "raw"),
        (dict(seeds=()), "at least one"),
    ],
)
def test_impossible_settings_say_what_works(run, options, message):
    with pytest.raises(ConfigError, match=message):
        probe(run, "digits:test", **options)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError):
        probe(tmp_path, "digits:test")


def test_features_do_not_depend_on_batches_and_layers_are_joined(run):
    method = create("ijepa", image_size=[8, 8], channels=1, masks=dict(target_scale=[0.15, 0.3]), **TINY)
    dataset = ImageDataset(open_source("digits:test", labels=True, limit=30), ImageConfig(size=8))
    readers = {
        "both": encoder_reader(method, layers=(0, -1)),
        "last": encoder_reader(method),
        "raw": averages((1, 8, 8)),
    }
    calls = []
    small = extract(readers, dataset, batch_size=7, progress=lambda done, total: calls.append((done, total)))
    large = extract(readers, dataset, batch_size=64)
    np.testing.assert_allclose(small.values["both"], large.values["both"], atol=1e-5)
    np.testing.assert_allclose(small.values["both"][:, 16:], small.values["last"], atol=1e-6)
    assert calls[-1] == (30, 30) and len(calls) == 5
    assert (small.labels == dataset.source.labels).all() and (small.index == np.arange(30)).all()


def test_the_encoder_that_is_asked_for_is_read():
    class Two(Method):
        name = "two"

        def encode(self, x, *, encoder="target", layer=-1):
            tokens = torch.full((len(x), 3, 2), {"target": 1.0, "context": 2.0}[encoder])
            return Representation(tokens, tokens.mean(1), encoder, layer, Layout((3,)))

    dataset = ImageDataset(open_source("digits:test", limit=5), ImageConfig(size=8))
    readers = {which: encoder_reader(Two(), encoder=which) for which in ("target", "context")}
    found = extract(readers, dataset)
    assert (
        found.labels is None and (found.values["target"] == 1).all() and (found.values["context"] == 2).all()
    )


def test_an_untrained_twin_has_the_config_but_other_weights(run):
    method = create("ijepa", image_size=[8, 8], channels=1, masks=dict(target_scale=[0.15, 0.3]), **TINY)
    state = torch.get_rng_state()
    first, second, again = untrained(method, 0), untrained(method, 1), untrained(method, 0)
    assert torch.equal(state, torch.get_rng_state())
    assert replace(first.config, seed=0) == replace(method.config, seed=0)

    def weight(m):
        return m.context_encoder.tokenizer.proj.weight

    assert torch.equal(weight(first), weight(again))
    assert not torch.equal(weight(first), weight(second)) and not torch.equal(weight(first), weight(method))


def test_large_images_are_averaged_down_for_the_raw_baseline():
    images = torch.arange(3 * 64 * 48, dtype=torch.float32).view(1, 3, 64, 48)
    values = averages((3, 64, 48), most=768)(images)
    assert values.shape[1] <= 768 and values.shape[1] > 500
    assert values.mean().item() == pytest.approx(images.mean().item(), rel=1e-2)
    assert torch.equal(averages((3, 64, 48), most=10**6)(images), images.flatten(1))


def test_the_verdict_is_honest_both_ways(result):
    from anyjepa.demo import verdict

    def scored(features, value):
        scores = tuple(
            replace(s, values=(value, value)) if s.probe == "linear" else s
            for s in result.row(features).scores
        )
        return replace(result.row(features), scores=scores)

    worse = replace(result, rows=(scored("pretrained", 0.5), scored("untrained", 0.6), scored("raw", 0.2)))
    assert "10.0 points worse than the same encoder untrained" in verdict(worse)
    assert "30.0 points better than the raw pixels" in verdict(worse)


def test_a_demo_that_was_stopped_scores_nothing(monkeypatch, tmp_path):
    from types import SimpleNamespace

    import anyjepa.demo

    monkeypatch.setattr(anyjepa.demo, "pretrain", lambda *_, **__: SimpleNamespace(finished=False))
    assert anyjepa.demo.demo(tmp_path) is None
