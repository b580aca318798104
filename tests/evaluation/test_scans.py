"""Scores of brain scans: no subject on both sides, scores by hand, what is there is found and what is not is not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score, roc_auc_score

from anyjepa import create
from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.scan_features import pool
from anyjepa.evaluation.scan_probes import STRENGTHS
from anyjepa.evaluation.scans import (
    Scores,
    check_disjoint,
    class_scores,
    connectivity_features,
    embed_scans,
    interval,
    number_scores,
    predict_class,
    predict_number,
    site_folds,
    subject_folds,
)


def people(n=60, scans=2):
    """Two scans of each of 60 subjects from three sites."""
    subjects = [f"s{i}" for i in range(n) for _ in range(scans)]
    sites = ["ABC"[i % 3] for i in range(n) for _ in range(scans)]
    return subjects, sites


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(6, 40), st.booleans())
def test_a_subject_is_in_one_fold(seed, parts, n, stratified):
    rng = np.random.default_rng(seed)
    subjects = [f"s{i}" for i in rng.integers(0, n, 3 * n)] + [f"s{i}" for i in range(n)]
    labels = rng.integers(0, 2, len(subjects)) if stratified else None
    fold = subject_folds(subjects, labels, parts=parts, seed=seed)
    assert set(fold.tolist()) == set(range(parts))
    for subject in set(subjects):
        assert len({f for f, s in zip(fold, subjects, strict=True) if s == subject}) == 1
    np.testing.assert_array_equal(fold, subject_folds(subjects, labels, parts=parts, seed=seed))


def test_folds_spread_labels_and_sites():
    subjects, sites = people()
    labels = np.array([int(s[1:]) % 2 for s in subjects])
    fold = subject_folds(subjects, labels, sites, parts=5)
    for k in range(5):
        inside = fold == k
        assert abs(labels[inside].mean() - 0.5) <= 0.1
        assert all(
            abs(np.mean([s == site for s in np.array(sites)[inside]]) - 1 / 3) <= 0.1 for site in "ABC"
        )
    ages = np.array([20.0 + int(s[1:]) for s in subjects])
    spread = [ages[subject_folds(subjects, ages, parts=5) == k].mean() for k in range(5)]
    assert max(spread) - min(spread) < 12


def test_strata_too_fine_to_spread_give_way_to_coarser_ones():
    subjects, sites = [f"s{i}" for i in range(8)], list("ABABABAB")
    ages = np.arange(8.0)
    fold = subject_folds(subjects, ages, sites, parts=2)
    # Each quarter of the ages is in both folds.
    assert sorted(fold[:2].tolist()) == sorted(fold[6:].tolist()) == [0, 1]
    assert set(subject_folds(subjects, ages, sites, parts=8).tolist()) == set(range(8))


def test_too_few_subjects_or_sites():
    with pytest.raises(DataError, match="3 subjects cannot be split into 5 folds"):
        subject_folds(["a", "b", "c", "c", "a"], parts=5)
    with pytest.raises(DataError, match="all scans are from 'A'"):
        site_folds(["A", "A"])
    with pytest.raises(DataError, match="some are unknown"):
        site_folds(["A", None])
    fold, names = site_folds(["B", "A", "B"])
    assert fold.tolist() == [1, 0, 1] and names == ("A", "B")


def test_a_subject_on_both_sides_is_refused():
    with pytest.raises(DataError, match=r"1 subjects .* \(b\)"):
        check_disjoint(["a", "b"], ["b", "c"])
    check_disjoint(["a"], ["b"])
    x = np.random.randn(20, 3)
    with pytest.raises(DataError, match="split by subject"):
        predict_number(x, x[:, 0], ["s"] * 20, np.arange(20) % 4)


def test_scores_by_hand():
    truth = np.array([1.0, 2.0, 3.0, 5.0])
    guess = np.array([1.5, 2.0, 2.0, 6.0])
    scores = number_scores(guess, truth)
    assert scores["mse"] == pytest.approx((0.25 + 0 + 1 + 1) / 4)
    assert scores["r"] == pytest.approx(np.corrcoef(guess, truth)[0, 1])
    assert np.isnan(number_scores(np.ones(4), truth)["r"])
    p = np.array([0.9, 0.2, 0.6, 0.4, 0.7])
    y = np.array([1, 0, 0, 1, 1])
    scores = class_scores(np.stack([1 - p, p], 1), y, np.array([0, 1]))
    assert scores["accuracy"] == pytest.approx(3 / 5) and scores["f1"] == pytest.approx(2 / 3)
    assert scores["auroc"] == pytest.approx(5 / 6)
    # The larger class number is the positive one, whatever the numbers are.
    assert class_scores(np.stack([1 - p, p], 1), y * 3 + 1, np.array([1, 4])) == scores
    one = class_scores(np.stack([1 - p, p], 1), np.ones(5, dtype=int), np.array([0, 1]))
    assert np.isnan(one["auroc"])


def test_scores_of_three_classes():
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(3), 40), np.arange(40) % 3
    scores = class_scores(p, y, np.arange(3))
    assert scores["f1"] == pytest.approx(f1_score(y, p.argmax(1), average="macro"))
    assert scores["auroc"] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))


def test_what_is_in_the_features_is_found():
    subjects, sites = people()
    rng = np.random.default_rng(0)
    trait = np.repeat(rng.standard_normal(60), 2)
    x = rng.standard_normal((120, 30))
    x[:, 3] += 2 * trait
    fold = subject_folds(subjects, trait, sites)
    age = predict_number(x, 40 + 10 * trait, subjects, fold)
    assert age.mean("r") > 0.7 and age.mean("mse") < 0.6 < age.chance["mse"] and len(age.values["r"]) == 5
    assert np.abs(age.predicted - (40 + 10 * trait)).mean() < 7, "predictions are in years"
    sex = predict_class(x, (trait > 0).astype(int), subjects, fold)
    assert sex.mean("accuracy") > 0.68 and sex.mean("auroc") > 0.75 and sex.mean("f1") > 0.65
    assert sex.chance["auroc"] == 0.5 and 0.3 < sex.chance["accuracy"] < 0.7 and "auroc" in str(sex)


def test_what_is_not_in_the_features_is_not_found():
    """Two scans of a subject are nearly the same: only a leak between the folds could score here."""
    subjects, _ = people()
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((60, 200)), 2, axis=0) + 0.01 * rng.standard_normal((120, 200))
    label = np.repeat(rng.integers(0, 2, 60), 2)
    fold = subject_folds(subjects, label)
    assert predict_class(x, label, subjects, fold).mean("auroc") < 0.68
    assert abs(predict_number(x, label + 0.0, subjects, fold).mean("r")) < 0.3


def test_missing_labels_are_refused():
    x, subjects, fold = np.random.randn(8, 3), list("abcdefgh"), np.arange(8) % 2
    with pytest.raises(DataError, match="1 scans have no value"):
        predict_number(x, np.array([1.0] * 7 + [np.nan]), subjects, fold)
    with pytest.raises(DataError, match="2 scans have no class"):
        predict_class(x, np.array([0, 1] * 3 + [-1, -1]), subjects, fold)
    with pytest.raises(DataError, match="all 8 scans are of class"):
        predict_class(x, np.ones(8, dtype=int), subjects, fold)
    with pytest.raises(DataError, match="lack a class"):
        predict_class(x, fold, subjects, fold)
    with pytest.raises(DataError, match="do not fit each other"):
        predict_number(x, np.ones(8), subjects[:7], fold)


@pytest.fixture
def source(tmp_path):
    for i in range(4):
        x = np.random.default_rng(i).standard_normal((40 if i else 14, 12)).astype(np.float32)
        np.save(tmp_path / f"s{i}.npy", x)
    return FmriSource.open(tmp_path, FmriConfig(frames=16, short="pad"))


def tiny(frames=16):
    fields = dict(dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=1)
    return create("brainjepa", **fields, rois=12, frames=frames, patch_size=4)


def test_embeddings_leave_padding_out_and_average_clips(source):
    method = tiny()
    one = embed_scans(method, source, batch_size=3)
    assert one.shape == (4, 16)
    x, valid = source.clip(0)
    expected = method.encode(x[None, None], valid=valid[None]).pooled[0].detach().numpy()
    np.testing.assert_allclose(one[0], expected, rtol=1e-4, atol=1e-5)
    done = []
    three = embed_scans(method, source, clips=3, progress=lambda a, b: done.append((a, b)))
    assert done[-1] == (12, 12)
    parts = [method.encode(source.clip(2, u)[0][None, None]).pooled[0].detach().numpy() for u in (0, 0.5, 1)]
    np.testing.assert_allclose(three[2], np.mean(parts, axis=0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="clips and batch_size"):
        embed_scans(method, source, clips=0)


def test_a_method_that_knows_no_padding_says_so(source):
    method = create(
        "ijepa", size="nano", image_size=[12, 16], channels=1, patch_size=2, dim=16, depth=1, heads=2
    )
    with pytest.raises(ConfigError, match="ijepa takes no padded clips"):
        embed_scans(method, source)


def test_connectivity_as_a_baseline(source):
    x = connectivity_features(source)
    assert x.shape == (4, 66)
    r = np.corrcoef(source.read(2))
    np.testing.assert_allclose(np.tanh(x[2]), r[np.triu_indices(12, 1)], atol=1e-4)


def test_features_are_read_in_eval_mode(source):
    method = create(
        "brainjepa",
        dim=16,
        depth=2,
        heads=2,
        predictor_width=8,
        predictor_depth=1,
        rois=12,
        frames=16,
        patch_size=4,
        drop_path=0.9,
    )
    np.testing.assert_array_equal(embed_scans(method, source), embed_scans(method, source))
    assert not method.training and torch.is_grad_enabled()


def test_more_features_than_scans_give_the_same_model():
    """Turned to the span of the training scans, the fit is that of all features."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 200)), rng.standard_normal(30)
    subjects, fold = [str(i) for i in range(30)], np.arange(30) % 3
    found = predict_number(x, y, subjects, fold)
    inside, outside = fold != 0, fold == 0
    mean, deviation = y[inside].mean(), y[inside].std()
    scaled = (x - x[inside].mean(0)) / x[inside].std(0)
    plain = [
        Ridge(alpha=a).fit(scaled[inside], (y[inside] - mean) / deviation).predict(scaled[outside])
        for a in STRENGTHS
    ]
    off = [np.abs(p * deviation + mean - found.predicted[outside]).max() for p in plain]
    assert min(off) < 1e-6


def test_features_of_each_fold():
    """Where an encoder is trained without a fold, each fold has features of its own, and reads no others."""
    rng = np.random.default_rng(0)
    y, fold, subjects = rng.standard_normal(30), np.arange(30) % 3, [str(i) for i in range(30)]
    parts = [rng.standard_normal((30, 4 + k)) for k in range(3)]
    found = predict_number(parts, y, subjects, fold)
    for k, part in enumerate(parts):
        alone = predict_number(part, y, subjects, fold)
        assert found.values["mse"][k] == alone.values["mse"][k]
        np.testing.assert_array_equal(found.predicted[fold == k], alone.predicted[fold == k])
    with pytest.raises(DataError, match="2 matrices of features do not fit 3 folds"):
        predict_number(parts[:2], y, subjects, fold)


def test_intervals_by_hand_and_by_their_meaning():
    subjects, _ = people(n=40, scans=1)
    rng = np.random.default_rng(1)
    trait = rng.standard_normal(40)
    fold = np.arange(40) % 4
    good = predict_number(np.c_[trait + 0.1 * rng.standard_normal(40)], trait, subjects, fold)
    poor = predict_number(rng.standard_normal((40, 3)), trait, subjects, fold)
    for score in ("r", "mse"):
        at = interval([good], subjects, score)
        assert at.value == pytest.approx(good.mean(score)) and at.low <= at.value <= at.high
    apart = interval([good], subjects, "r", against=[poor])
    assert apart.value == pytest.approx(good.mean("r") - poor.mean("r")) and apart.low > 0
    same = interval([good, poor], subjects, "r", against=[poor, good])
    assert abs(same.value) < 1e-12 and abs(same.low) < 1e-12
    sex = predict_class(np.c_[trait + rng.standard_normal(40)], (trait > 0).astype(int), subjects, fold)
    for score in ("accuracy", "f1", "auroc"):
        at = interval([sex], subjects, score)
        assert at.value == pytest.approx(sex.mean(score)) and at.low < at.value < at.high
    with pytest.raises(ConfigError, match="no score 'auc'"):
        interval([sex], subjects, "auc")
    with pytest.raises(DataError, match="do not fit"):
        interval([sex], subjects[:-1], "auroc")


def test_scans_of_one_person_are_drawn_together():
    """Ten copies of everybody's scan say no more than one."""
    truth = np.array([0, 1] * 10)
    p = np.linspace(0.2, 0.8, 20)

    def scores(copies):
        t, q = np.repeat(truth, copies), np.repeat(p, copies)
        both = np.stack([1 - q, q], 1)
        return Scores(
            "class", {"auroc": (0.5,)}, {}, (q > 0.5) + 0.0, np.zeros(len(t), int), t, probability=both
        )

    one = interval([scores(1)], [f"s{i}" for i in range(20)], "auroc")
    ten = interval([scores(10)], [f"s{i}" for i in range(20) for _ in range(10)], "auroc")
    assert one.value == pytest.approx(ten.value)
    assert one.low == pytest.approx(ten.low) and one.high == pytest.approx(ten.high)


def test_poolings(source):
    method = tiny()
    x = source.clip(2)[0][None, None]
    tokens = method.encode(x).tokens[0].detach()
    grid = tokens.view(12, 4, 16)
    assert torch.equal(pool(tokens[None], 12, "region")[0], grid.mean(1).flatten())
    course = (grid - grid.mean(1, keepdim=True)).numpy()
    course = (course - course.mean(0)).reshape(12, -1)
    r = (course @ course.T) / np.outer(*[np.linalg.norm(course, axis=1)] * 2)
    np.testing.assert_allclose(
        pool(tokens[None], 12, "pairs")[0].tanh().numpy(), r[np.triu_indices(12, 1)], atol=1e-5
    )
    covariance = np.cov(tokens.numpy().T, bias=True)[np.triu_indices(16)]
    np.testing.assert_allclose(pool(tokens[None], 12, "covariance")[0], covariance, atol=1e-5)
    whole = source.subset([1, 2, 3])
    assert embed_scans(method, whole, pooling="region", clips=2).shape == (3, 192)
    with pytest.raises(ConfigError, match="padded clips can only be averaged"):
        embed_scans(method, source, pooling="region")
    with pytest.raises(ConfigError, match="did you mean 'region'"):
        embed_scans(method, whole, pooling="regions")
