"""How many labels: what can be asked for, and what is chosen."""

import numpy as np
import pytest

from anyjepa.data.base import encode_labels
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.budgets import Budget, budgets
from anyjepa.evaluation.task import Target, task_labels

CLASSES = np.arange(200) % 4
VALUES = np.linspace(0, 1, 200)


def test_numbers_shares_and_all_are_understood():
    assert budgets(["1%", "100", "all", 100, None]) == [Budget(share=0.01), Budget(count=100), Budget()]
    assert budgets() == [Budget()] and budgets("10%") == [Budget(share=0.1)]
    assert budgets(per_class=5) == [Budget(per_class=5)]
    assert budgets(50, [1, 2]) == [Budget(count=50), Budget(per_class=1), Budget(per_class=2)]


@pytest.mark.parametrize("given", ["some", "0", "0%", "101%", "-3", "1.5", "x%", ""])
def test_what_is_no_budget_is_refused(given):
    with pytest.raises(ConfigError, match="10%, or all"):
        Budget.parse(given)
    with pytest.raises(ConfigError, match="labels is empty"):
        budgets([])


@pytest.mark.parametrize("budget, size", [("10%", 20), ("all", 200), (9, 9)])
def test_shares_are_of_the_training_labels(budget, size):
    chosen = Budget.parse(budget).choose(CLASSES, 0)
    assert len(np.unique(chosen)) == size and np.ptp(np.bincount(CLASSES[chosen])) <= 1
    assert len(Budget.parse(budget).choose(VALUES, 0)) == size


def test_so_many_of_each_class():
    labels = np.r_[np.zeros(5, int), np.ones(50, int)]
    assert np.bincount(labels[Budget(per_class=3).choose(labels, 1)]).tolist() == [3, 3]
    with pytest.raises(DataError, match="5 training samples of class number 0: use 5 or fewer"):
        Budget(per_class=6).choose(labels, 0)
    with pytest.raises(ConfigError, match="at least 1"):
        Budget(per_class=0).choose(labels, 0)
    with pytest.raises(ConfigError, match="measured values"):
        Budget(per_class=3).choose(VALUES, 0)


@pytest.mark.parametrize("labels, count", [(CLASSES, 3), (CLASSES, 201), (VALUES, 1), (VALUES, 201)])
def test_too_few_and_too_many_are_refused(labels, count):
    with pytest.raises(ConfigError, match=f"labels={count} must lie between"):
        Budget(count=count).choose(labels, 0)


def test_the_task_follows_the_labels_unless_it_cannot():
    assert task_labels(CLASSES, None)[0] == "classify" and task_labels(VALUES, None)[0] == "regress"
    task, labels = task_labels(CLASSES, "regress")
    assert task == "regress" and labels.dtype == np.float64
    for labels, task, named, message in (
        (VALUES, "classify", False, "fractions"),
        (CLASSES, "regress", True, "names"),
        (CLASSES, "regres", False, "did you mean 'regress'"),
    ):
        with pytest.raises(ConfigError, match=message):
            task_labels(labels, task, named)


def test_fractions_stay_values_and_whole_numbers_are_classes():
    assert encode_labels([0.5, 2.0], "x")[0].dtype == np.float64
    assert encode_labels([1.0, 2.0], "x")[0].dtype == np.int64
    for broken in (np.nan, np.inf):
        with pytest.raises(DataError, match="x: 1 of 3 labels are not finite"):
            encode_labels([0.5, broken, 2.0], "x")


def test_targets_are_encoded_and_decoded():
    classes = Target.of(np.array([7, 3, 7, 9]))
    assert classes.encode(np.array([9, 3, 8])).tolist() == [2, 0, -1]
    values = Target.of(np.array([10.0, 30.0]))
    again = values.decode(values.encode(np.array([10.0, 25.0]))[:, None])
    assert again == pytest.approx([10.0, 25.0])
