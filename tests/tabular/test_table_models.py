"""Models of tables learn, stop by the validation rows alone, repeat, and say what is wrong; as estimators and as functions."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone

from anyjepa.errors import ConfigError, DataError, MissingExtraError
from anyjepa.evaluation import Budget
from anyjepa.evaluation.task import Target
from anyjepa.tabular import FitConfig, TableClassifier, TableRegressor
from anyjepa.tabular.fitting import FittedModel
from anyjepa.tabular.inputs import Inputs
from anyjepa.tabular.material import Material
from anyjepa.tabular.models import fit_model, hold_back, judge, make_samples, tune
from anyjepa.tabular.result import COLUMNS
from anyjepa.tabular.scoring import fit_all
from anyjepa.tabular.settings import MODELS

for package in ("rtdl_revisiting_models", "xgboost", "catboost"):
    pytest.importorskip(package, reason="it is in the extra 'models'")

SHORT = FitConfig(epochs=25, batch_size=32, rounds=60)
SETTINGS = {
    "ft-transformer": {"layers": 1, "width": 16},
    "autoint": {"layers": 1, "width": 16},
    "mlp": {"layers": 2, "width": 32},
    "resnet": {"layers": 1, "width": 32},
    "dcnv2": {"layers": 1, "width": 32, "lr": 5e-3},
}


def planted(count: int, seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Rows of which a number and a category decide the class, with gaps and two columns of noise."""
    rng = np.random.default_rng(seed)
    level, noise, code = rng.normal(size=count), rng.normal(size=count), rng.integers(3, size=count)
    labels = np.where(level + 2.0 * (code == 1) > 0.7, "high", "low")
    table = {
        "level": level,
        "noise": pa.array(np.where(rng.random(count) < 0.2, np.nan, noise), from_pandas=True),
        "town": np.array(["Rome", "Oslo", "Bonn"])[code],
        "coin": rng.integers(2, size=count).astype(bool),
    }
    return pa.table(table), labels


def tokens_of(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of which two channels of two columns tell the value."""
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(count, 4, 6)).astype(np.float32)
    return tokens, tokens[:, 1, 2] - tokens[:, 3, 0]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_finds_what_decides_a_class(model):
    (train, labels), (test, truth) = planted(400), planted(200, 1)
    fitted = TableClassifier(model, settings=SETTINGS.get(model), limits=SHORT, device="cpu").fit(
        train, labels
    )
    assert fitted.score(test, truth) > 0.85 > (truth == "low").mean() + 0.1
    assert fitted.classes_.tolist() == ["high", "low"] and fitted.n_features_in_ == 4
    shares = fitted.predict_proba(test)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (fitted.classes_[shares.argmax(axis=1)] == fitted.predict(test)).all()


@pytest.mark.parametrize("model", MODELS)
def test_every_model_finds_what_decides_a_value_in_tokens(model):
    (train, labels), (test, truth) = tokens_of(400), tokens_of(200, 1)
    # Trees see pooled tokens or principal components, which are not the axes of this signal: all channels, then.
    settings = {"adapter": "flatten"} if model in ("xgboost", "catboost") else SETTINGS[model]
    fitted = TableRegressor(model, settings=settings, limits=SHORT, device="cpu").fit(train, 5 + 2 * labels)
    assert fitted.score(test, 5 + 2 * truth) > 0.6


def test_three_classes_and_categories_for_both_kinds_of_trees():
    table, _ = planted(300)
    labels = np.array(table["town"].to_pylist())
    for model in ("xgboost", "catboost"):
        fitted = TableClassifier(model, limits=SHORT, device="cpu").fit(table, labels)
        assert fitted.score(table, labels) == 1.0 and fitted.predict_proba(table).shape == (300, 3)
        # A town that was not there, and none, are answered too.
        rows = table.slice(0, 2).set_column(2, "town", [["Paris", None]])
        assert set(fitted.predict(rows)) <= {"Rome", "Oslo", "Bonn"}


@pytest.mark.parametrize("model", ["mlp", "resnet", "xgboost", "catboost"])
def test_fits_repeat_with_their_seed(model):
    table, labels = planted(120)

    def shares(seed: int) -> np.ndarray:
        settings = SETTINGS.get(model, {"rows": 0.7} if model == "xgboost" else None)
        made = TableClassifier(model, settings=settings, limits=SHORT, device="cpu", random_state=seed)
        return made.fit(table, labels).predict_proba(table)

    np.testing.assert_array_equal(shares(0), shares(0))
    assert not np.array_equal(shares(0), shares(1))


def samples_with(wrong: np.ndarray):
    """Planted rows; ``wrong``: validation labels that are turned around."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 5)).astype(np.float32)
    labels = (values[:, 0] > 0).astype(np.int64)
    samples = make_samples(Inputs(values, (0,) * 5), labels, 0)
    samples.valid_labels[wrong] = 1 - samples.valid_labels[wrong]
    return samples


@pytest.mark.parametrize("model", MODELS)
def test_the_validation_rows_decide_when_a_model_stops(model):
    """With their labels turned around every step makes them worse: the first is kept, whatever the training rows say."""
    settings = SETTINGS.get(model)
    right = fit_model(model, samples_with(np.array([], np.int64)), settings, SHORT)
    turned = fit_model(model, samples_with(np.arange(40)), settings, SHORT)
    assert turned.rounds <= 2 < right.rounds


@pytest.mark.parametrize("model", ["mlp", "xgboost", "catboost"])
def test_rows_that_are_scored_change_nothing_of_the_fit(model):
    """Tuning and fits with test labels turned around choose the same, to the last bit: the test decides nothing."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(150, 4)).astype(np.float32)
    labels = (values[:, 0] > 0).astype(np.int64)
    limits = FitConfig(epochs=4, rounds=30)

    def run(labels: np.ndarray):
        material = Material({COLUMNS: Inputs(values, (0,) * 4)}, labels, np.arange(100), np.arange(100, 150))
        (row,), _ = fit_all(
            material, [model], [Budget()], trials=2, seeds=[0, 1], limits=limits, kinds=(COLUMNS,)
        )
        return row

    turned = labels.copy()
    turned[100:] = 1 - turned[100:]
    honest, fooled = run(labels), run(turned)
    assert honest.settings == fooled.settings and honest.valid == fooled.valid
    np.testing.assert_allclose(np.array(honest.scores["accuracy"]), 1 - np.array(fooled.scores["accuracy"]))
    # The same check does notice rows that matter.
    turned = labels.copy()
    turned[:100] = rng.permutation(labels[:100])
    assert run(turned).valid != honest.valid


def test_a_fifth_is_held_back_evenly_and_no_group_is_on_both_sides():
    labels = np.arange(100) % 4
    train, valid = hold_back(labels, 0)
    assert len(valid) == 20 and np.bincount(labels[valid]).tolist() == [5, 5, 5, 5]
    assert sorted([*train, *valid]) == list(range(100))
    groups = np.arange(100) // 4
    train, valid = hold_back(labels, 0, groups)
    assert not set(groups[train]) & set(groups[valid]) and 12 <= len(valid) <= 28


def test_the_best_trial_by_the_validation_rows_comes_first_and_all_have_as_many():
    samples = samples_with(np.array([], np.int64))
    ticks = []
    trials = tune("xgboost", samples, trials=4, config=SHORT, tick=lambda: ticks.append(1))
    assert len(trials) == len(ticks) == 4
    assert [t.score for t in trials] == sorted((t.score for t in trials), reverse=True)
    again = fit_model("xgboost", samples, trials[0].settings, SHORT)
    assert (
        judge(again, samples.target, samples.valid, samples.valid_labels).scores["accuracy"]
        == trials[0].score
    )


def test_scores_are_those_of_the_sheet():
    class Fixed(FittedModel):
        def outputs(self, inputs):
            return torch.tensor([[0.0], [1.0], [-1.0]])

    target = Target.of(np.array([0.0, 10.0, 20.0, 30.0]))
    found = judge(Fixed(), target, Inputs(np.zeros((3, 1), np.float32), (0,)), np.array([15.0, 15.0, 15.0]))
    # Errors are 0, one and minus one standard deviation of the training labels.
    assert found.scores["rmse"] == pytest.approx((2 / 3) ** 0.5)


def test_the_time_limit_ends_a_fit_and_says_so():
    table, labels = planted(300)
    limits = FitConfig(seconds=1e-3)
    for model in ("mlp", "catboost", "xgboost"):
        fitted = TableClassifier(model, limits=limits, device="cpu").fit(table, labels).fitted_
        assert fitted.cut and fitted.rounds <= 3


def test_estimators_are_cloned_and_keep_their_parameters():
    made = TableClassifier("resnet", settings={"layers": 1}, random_state=3)
    assert clone(made).get_params() == made.get_params() and not hasattr(clone(made), "fitted_")


def test_groups_and_lengths_are_checked():
    table, labels = planted(60)
    groups = np.repeat(np.arange(6), 10)
    assert (
        TableClassifier("xgboost", limits=SHORT, device="cpu").fit(table, labels, groups=groups).classes_.size
    )
    with pytest.raises(DataError, match="X has 60 rows, y has 59"):
        TableClassifier("xgboost").fit(table, labels[1:])
    with pytest.raises(DataError, match="groups has 3"):
        TableClassifier("xgboost").fit(table, labels, groups=[1, 2, 3])


@pytest.mark.parametrize(
    "model, y, said",
    [
        (TableClassifier("xgboost"), ["a"] * 40, "at least two classes"),
        (TableClassifier("xgboost"), np.linspace(0, 1, 40), "use TableRegressor"),
        (TableRegressor("xgboost"), ["a", "b"] * 20, "use TableClassifier"),
        (TableRegressor("xgboost"), [1.5] * 39 + [np.nan], "1 of 40 labels are not finite"),
        (TableRegressor("xgboost"), [2.0] * 40, "two values"),
        (TableClassifier("xgboost"), np.array(["a", "b"] * 19 + ["a", None], object), "label 39 is None"),
    ],
)
def test_bad_labels_are_named(model, y, said):
    with pytest.raises(DataError, match=said):
        model.fit(planted(40)[0], y)


@pytest.mark.parametrize(
    "fields, said",
    [
        (dict(model="xgbost"), "did you mean 'xgboost'"),
        (dict(model="mlp", settings={"depth": 3}), "mlp has no setting 'depth'"),
        (dict(model="mlp", settings={"scaling": "minmax"}), "quantile or read"),
        (dict(options={"scalign": "none"}), "scaling"),
    ],
)
def test_bad_parameters_are_named(fields, said):
    with pytest.raises(ConfigError, match=said):
        TableClassifier(**fields).fit(*planted(40))


def test_too_few_rows_and_other_inputs_are_named():
    table, labels = planted(40)
    with pytest.raises(DataError, match="9 labelled training rows are too few"):
        TableClassifier("xgboost").fit(table.slice(0, 9), labels[:9])
    fitted = TableClassifier("xgboost", limits=SHORT, device="cpu").fit(table, labels)
    with pytest.raises(DataError, match="fitted on columns"):
        fitted.predict(np.zeros((2, 3, 4)))
    with pytest.raises(DataError, match="no column 'town'"):
        fitted.predict(table.drop_columns(["town"]))
    tokens, values = tokens_of(40)
    of_tokens = TableRegressor("xgboost", limits=SHORT, device="cpu").fit(tokens, values)
    with pytest.raises(DataError, match="fitted on tokens"):
        of_tokens.predict(table)
    with pytest.raises(DataError, match="finite"):
        of_tokens.predict(np.full((2, 4, 6), np.nan))
    for wrong in (dict(epochs=0), dict(seconds=-1.0)):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            FitConfig(**wrong)


@pytest.mark.parametrize(
    "model, package", [("mlp", "rtdl_revisiting_models"), ("xgboost", "xgboost"), ("catboost", "catboost")]
)
def test_packages_that_are_missing_are_named_with_their_extra(model, package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is needed .*anyjepa\[models\]"):
        TableClassifier(model, limits=SHORT, device="cpu").fit(*planted(40))
