"""kNN, linear probe and label budgets against answers known beforehand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.knn import knn_accuracy, knn_predict
from anyjepa.evaluation.linear import fit_linear
from anyjepa.evaluation.splits import balanced, epoch_rows, folds


def blobs(seed: int, n: int = 300, classes: int = 5, dim: int = 8, noise: float = 0.1):
    """Classes around orthogonal directions."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    values = np.eye(classes, dim)[labels] + noise * draw.normal(size=(n, dim))
    return values.astype(np.float32), labels


def test_separable_classes_are_read_without_error():
    (train, labels), (test, truth) = blobs(0), blobs(1)
    assert knn_accuracy(train, labels, test, truth) == 1.0
    assert fit_linear(train, labels).accuracy(test, truth) == 1.0


def test_labels_that_have_nothing_to_do_with_the_features_score_at_chance():
    (train, labels), (test, truth) = blobs(0, n=1000), blobs(1, n=1000)
    draw = np.random.default_rng(2)
    train, test = draw.permutation(train), draw.permutation(test)
    assert abs(knn_accuracy(train, labels, test, truth) - 0.2) < 0.05
    assert abs(fit_linear(train, labels).accuracy(test, truth) - 0.2) < 0.05


def test_the_vote_weighs_neighbours_by_similarity():
    train = np.array([[1.0, 0.0], [0.8, 0.6], [0.8, 0.6]], dtype=np.float32)
    labels = np.array([7, 3, 3])
    asked = np.array([[2.0, 0.0]], dtype=np.float32)
    # exp(1 / t) against 2 exp(0.8 / t): equal at t = 0.2 / log 2 = 0.2885.
    assert knn_predict(train, labels, asked, k=3, temperature=0.28).tolist() == [7]
    assert knn_predict(train, labels, asked, k=3, temperature=0.30).tolist() == [3]
    assert knn_predict(train, labels, asked, k=1, temperature=9.0).tolist() == [7]


def test_knn_takes_cosine_similarity_and_chunks_change_nothing():
    train, labels = blobs(0, noise=0.5)
    test, _ = blobs(1, noise=0.5)
    scaled = train * np.random.default_rng(0).uniform(0.1, 10, size=(len(train), 1)).astype(np.float32)
    expected = knn_predict(train, labels, test)
    assert (knn_predict(scaled, labels, test * 5) == expected).all()
    assert (knn_predict(train, labels, test, chunk=7) == expected).all()


def test_knn_equals_a_plain_loop():
    (train, labels), (test, _) = blobs(0, n=60, noise=0.6), blobs(1, n=40, noise=0.6)
    unit = train / np.linalg.norm(train, axis=1, keepdims=True)
    for query, predicted in zip(test, knn_predict(train, labels, test, k=9, temperature=0.1), strict=True):
        similarity = unit @ (query / np.linalg.norm(query))
        votes = np.zeros(5)
        for i in np.argsort(-similarity)[:9]:
            votes[labels[i]] += np.exp(similarity[i] / 0.1)
        assert predicted == votes.argmax()


@pytest.mark.parametrize("k, temperature", [(0, 0.1), (3, 0.0)])
def test_impossible_neighbours_are_refused(k, temperature):
    with pytest.raises(ConfigError, match="k must be at least 1"):
        knn_predict(*blobs(0), blobs(1)[0], k=k, temperature=temperature)


def test_the_probe_is_scikit_learns_regression_on_standardised_features():
    (train, labels), (test, _) = blobs(0, noise=0.8), blobs(1, noise=0.8)
    train, test = train * 50 + 7, test * 50 + 7
    probe = fit_linear(train, labels, strengths=(1e-2,))
    mean, scale = train.mean(0), train.std(0)
    expected = LogisticRegression(C=1 / (1e-2 * len(labels)), max_iter=5000, tol=1e-8)
    expected.fit((train - mean) / scale, labels)
    found = probe.model.predict_proba((test - probe.mean) / probe.scale)
    np.testing.assert_allclose(found, expected.predict_proba((test - mean) / scale), atol=5e-3)
    assert probe.converged


def test_the_strength_is_chosen_by_held_out_labels():
    train, labels = blobs(0, n=80, dim=60, noise=0.5)
    strengths = (10.0, 1.0, 1e-1, 1e-3)
    standard = (train - train.mean(0)) / train.std(0)
    fold, correct = folds(labels, 5, 3), np.zeros(len(strengths))
    for i, strength in enumerate(strengths):
        for held in range(5):
            inside = fold != held
            model = LogisticRegression(C=1 / (strength * inside.sum()), max_iter=5000)
            correct[i] += model.fit(standard[inside], labels[inside]).score(
                standard[~inside], labels[~inside]
            )
    assert len(set(correct)) > 1
    assert fit_linear(train, labels, seed=3, strengths=strengths).strength == strengths[correct.argmax()]
    easy, classes = blobs(0)
    assert fit_linear(easy, classes, strengths=(1e3, 1e-2)).strength == 1e3  # equally right: the stronger one
    assert fit_linear(easy, classes, seed=1).strength == fit_linear(easy, classes, seed=1).strength


def test_a_feature_without_spread_changes_nothing():
    (train, labels), (test, _) = blobs(0), blobs(1)
    constant = np.full((len(train), 1), 0.1, dtype=np.float32)
    wider = fit_linear(np.hstack((train, constant)), labels, strengths=(0.1,))
    plain = fit_linear(train, labels, strengths=(0.1,))
    assert (wider.predict(np.hstack((test, constant + 1e-3))) == plain.predict(test)).all()


def test_one_class_is_refused():
    with pytest.raises(DataError, match="at least two classes"):
        fit_linear(np.zeros((4, 2), dtype=np.float32), np.ones(4, dtype=np.int64))


def test_one_label_for_each_class_is_enough_to_fit():
    train, labels = blobs(0, n=5)
    assert fit_linear(train, labels).accuracy(*blobs(1)) > 0.9


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=80), st.integers(0, 99), st.data())
def test_budgets_are_balanced(labels, seed, data):
    labels = np.array(labels)
    sizes = np.bincount(labels)[np.unique(labels)]
    budget = data.draw(st.integers(len(sizes), len(labels)))
    chosen = balanced(labels, budget, seed)
    assert len(np.unique(chosen)) == budget
    counts = np.bincount(labels[chosen], minlength=5)[np.unique(labels)]
    # Counts differ by one at most, but for classes that are used up.
    left = counts < sizes
    assert not left.any() or counts.max() - counts[left].min() <= 1
    assert (chosen == balanced(labels, budget, seed)).all()


def test_budgets_depend_on_the_seed_and_are_bounded():
    labels = np.arange(100) % 10
    assert (balanced(labels, 30, 0) != balanced(labels, 30, 1)).any()
    with pytest.raises(ConfigError, match="number of classes, 10"):
        balanced(labels, 9, 0)
    with pytest.raises(ConfigError, match="samples, 100"):
        balanced(labels, 101, 0)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=80), st.integers(0, 99))
def test_folds_are_stratified(labels, seed):
    labels = np.array(labels)
    fold = folds(labels, 5, seed)
    assert set(np.unique(fold)) <= set(range(5)) and np.ptp(np.bincount(fold, minlength=5)) <= 1
    for c in np.unique(labels):
        assert np.ptp(np.bincount(fold[labels == c], minlength=5)) <= 1


def test_batches_go_through_all_samples_epoch_by_epoch():
    epoch = [epoch_rows(10, 3, step, 0) for step in range(3)]
    assert len(np.unique(np.concatenate(epoch))) == 9 and {len(rows) for rows in epoch} == {3}
    assert (epoch_rows(10, 3, 3, 0) != epoch[0]).any() and (epoch_rows(10, 3, 0, 1) != epoch[0]).any()
    assert sorted(epoch_rows(4, 64, 7, 0)) == [0, 1, 2, 3]


def test_nothing_touches_the_global_generators():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train, labels = blobs(0)
    fit_linear(train[balanced(labels, 20, 0)], labels[balanced(labels, 20, 0)])
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
