"""The comparison of models with and without an encoder: what it reads, splits, writes and says, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import anyjepa
from anyjepa import cli
from anyjepa.data import ImageConfig
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation import Budget
from anyjepa.hub.layouts import own_files
from anyjepa.hub.read import Loaded
from anyjepa.hub.write import write_directory
from anyjepa.tabular import TJEPA, FitConfig, ModelsResult, compare
from anyjepa.tabular.compare import RESULT
from anyjepa.tabular.material import drawn, read_material
from anyjepa.tabular.result import COLUMNS, TOKENS, UNTRAINED, ModelRow, difference

pytest.importorskip("xgboost", reason="it is in the extra 'models'")

LIMITS = FitConfig(epochs=4, rounds=8)
TINY = {"model": {"dim": 8, "depth": 1, "predictor_depth": 1, "predictor_width": 8}}


def rows(count: int = 60, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    age, town = rng.normal(50, 20, count), rng.integers(3, size=count)
    return pa.table(
        {
            "age": age,
            "town": np.array(["Rome", "Oslo", "Bonn"])[town],
            "income": np.where(age + 5 * town > 55, ">50K", "<=50K"),
            "rent": age / 10 + town,
            "whose": [f"h{i // 3}" for i in range(count)],
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A run on the features of a table, and the table with its labels."""
    folder = tmp_path_factory.mktemp("compare")
    model = TJEPA(
        steps=3, batch_size=16, options=TINY, random_state=0, device="cpu", ignore=["income", "rent", "whose"]
    )
    model.fit(rows()).save(folder / "run")
    pacsv.write_csv(rows(), folder / "people.csv")
    pq.write_table(rows(30, 1), folder / "later.parquet")
    return folder


def run_compare(place: Path, **options) -> ModelsResult:
    values = dict(
        models=["xgboost"], trials=2, seeds=[0, 1], limits=LIMITS, label_column="income", device="cpu"
    )
    return compare(place / "run", options.pop("train", place / "people.csv"), **values | options)


def test_one_table_is_split_and_both_kinds_of_input_are_fitted(place):
    ticks = []
    result = run_compare(place, progress=lambda *told: ticks.append(told))
    assert [(r.features, r.labels, r.trials) for r in result.rows] == [(COLUMNS, 48, 2), (TOKENS, 48, 2)]
    assert result.test_size == 12 and all(len(r.scores["accuracy"]) == 2 for r in result.rows)
    assert ticks[-1] == ("fitting models", 8, 8) and 0 <= result.rows[0].mean("macro_f1") <= 1
    assert json.loads((place / "run" / RESULT).read_text())["rows"][1]["features"] == TOKENS
    said = str(result)
    assert (
        "a fifth of the labelled rows is held out" in said and "the best mean is that of XGBoost on" in said
    )
    assert result.markdown().count("| XGBoost | 48 |") == 1
    again = run_compare(place)
    assert [r.scores for r in again.rows] == [r.scores for r in result.rows]


def test_values_are_regressed_and_a_constant_scores_about_one(place):
    limits = FitConfig(rounds=80)
    result = run_compare(place, label_column="rent", test=place / "later.parquet", limits=limits)
    assert result.task == "regress" and result.test_size == 30 and 0.5 < result.chance < 2
    columns, tokens = (row.mean("rmse") for row in result.rows)
    assert result.best(60).mean("rmse") == min(columns, tokens) and columns < 0.8 * result.chance
    assert result.differences[0].gain == pytest.approx(
        result.rows[0].mean("rmse") - result.rows[1].mean("rmse")
    )


def test_several_numbers_of_labels_and_the_untrained_encoder(place):
    result = run_compare(place, labels=[20, "all"], untrained=True)
    assert [(r.labels, r.features) for r in result.rows] == [
        (n, kind) for n in (20, 48) for kind in (COLUMNS, TOKENS, UNTRAINED)
    ]
    assert [d.second for d in result.differences][:2] == [f"XGBoost on {COLUMNS}", f"XGBoost on {UNTRAINED}"]


def test_tokens_are_those_of_the_transformer_and_columns_those_it_reads(place):
    model = TJEPA.load(place / "run")
    material = read_material(
        place / "run", place / "people.csv", None, task=None, options={"label_column": "income"}
    )
    expected = model.tokens(rows())
    assert expected.shape == (60, 2, 8)
    np.testing.assert_allclose(material.kinds[TOKENS].values, expected, atol=1e-5)
    np.testing.assert_array_equal(model.transform(rows()), expected.reshape(60, -1))
    assert material.kinds[COLUMNS].cardinalities == (0, 3)
    assert not set(material.inside) & set(material.outside)


def test_groups_are_on_one_side_of_every_split(place):
    material = read_material(
        place / "run",
        place / "people.csv",
        None,
        task=None,
        options={"label_column": "income", "group_column": "whose"},
    )
    assert material.groups is not None
    assert not set(material.groups[material.inside]) & set(material.groups[material.outside])


def test_labels_are_drawn_at_random_and_more_contain_fewer():
    few, many = drawn(Budget(count=20), 100), drawn(Budget(share=0.5), 100)
    assert len(few) == 20 and len(many) == 50 and set(few) < set(many)
    assert drawn(Budget(), 30).tolist() == list(range(30))


def row(model: str, features: str, scores: tuple[float, ...]) -> ModelRow:
    return ModelRow(model, features, 100, {"accuracy": scores}, {}, 0.5, 1, 0, 1.0)


def test_a_difference_is_as_sure_as_seeds_and_test_rows_are():
    wrong, others = np.zeros(400), np.zeros(400)
    others[:40] = 1
    found = difference(
        row("mlp", TOKENS, (1.0, 1.0)), row("mlp", COLUMNS, (0.91, 0.89)), "accuracy", (wrong, others)
    )
    # Of the rows: 0.3 / 20. Of the seeds: a variance of 0.0002 of two.
    assert found.gain == pytest.approx(0.1) and found.error == pytest.approx((0.015**2 + 0.0001) ** 0.5)
    assert found.clear and str(found) == "MLP on T-JEPA beats MLP on columns: +10.0 ± 3.6 points"
    back = difference(
        row("mlp", COLUMNS, (0.91, 0.89)), row("xgboost", COLUMNS, (0.88, 0.92)), "accuracy", (others, others)
    )
    assert not back.clear and "within the noise" in str(back)


@pytest.mark.parametrize(
    "options, kind, said",
    [
        (dict(label_column="incom"), DataError, "did you mean 'income'"),
        (dict(label_column="age"), DataError, "'age' is a feature of the model"),
        (dict(models=["xgbost"]), ConfigError, "did you mean 'xgboost'"),
        (dict(models=[]), ConfigError, "models is empty"),
        (dict(seeds=[]), ConfigError, "seeds is empty"),
        (dict(trials=0), ConfigError, "trials must be at least 1"),
        (dict(labels=3), ConfigError, "labels=3 must lie between 10 and"),
        (dict(labels=1000), ConfigError, "labels=1000 must lie between"),
        (dict(task="regress"), ConfigError, "labels are names"),
        (dict(label_column="rent", task="classify"), ConfigError, "have fractions"),
        (dict(read={"limt": 3}), ConfigError, "limt"),
        (dict(out="nowhere/x.json"), ConfigError, "directory that exists"),
    ],
)
def test_impossible_wishes_are_named(place, options, kind, said):
    with pytest.raises(kind, match=said):
        run_compare(place, **options)


BAD = {
    "one class": (lambda t: t.set_column(2, "income", [["same"] * len(t)]), "at least two classes"),
    "missing": (
        lambda t: t.set_column(2, "income", [[None, *t["income"].to_pylist()[1:]]]),
        "lacks 1 values",
    ),
    "NaN": (lambda t: t.set_column(2, "income", [[float("nan"), *np.arange(len(t) - 1) / 7]]), "not finite"),
    "few rows": (lambda t: t.slice(0, 10), "too few"),
    "no feature": (lambda t: t.drop_columns(["age"]), "no column 'age'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_end_in_one_line_on_the_command_line(place, tmp_path, capsys, name):
    change, said = BAD[name]
    pq.write_table(change(rows()), tmp_path / "bad.parquet")
    words = ["probe", str(place / "run"), "--data", str(tmp_path / "bad.parquet"), "--label-column", "income"]
    assert cli.main([*words, "--models", "xgboost", "--trials", "1", "--seeds", "0"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("anyjepa: ") and any(part in error for part in said.split("|")), error


def renamed(to, file):
    """Test rows with other names of the classes."""
    later = rows(30, 1)
    labels = [to.format(label) for label in later["income"].to_pylist()]
    pq.write_table(later.set_column(2, "income", [labels]), file)
    return file


def test_test_classes_that_training_lacks_are_told(place, tmp_path):
    with pytest.raises(DataError, match=r"training has <=50K, >50K, test has a<=50K, a>50K"):
        run_compare(place, test=renamed("a{}", tmp_path / "test.parquet"))


def test_a_full_stop_behind_test_classes_is_taken_off(place, tmp_path):
    """As in Adult; the result says so."""
    result = run_compare(place, test=renamed("{}.", tmp_path / "test.parquet"))
    assert any("full stop" in note for note in result.notes)


def test_the_command_prints_table_and_words(place, capsys):
    words = ["probe", str(place / "run"), "--data", str(place / "people.csv"), "--label-column", "income"]
    few = ["--models", "xgboost", "--trials", "1", "--seeds", "0", "1", "--seconds", "5"]
    assert cli.main([*words, *few]) == 0
    said = capsys.readouterr().out
    assert "XGBoost on T-JEPA" in said and "always the same answer" in said
    for wrong, named in (
        (["--probes", "knn", *few], "--probes"),
        (["--pooling", "meanmax", *few], "--pooling"),
        (["--encoder", "both", *few], "--encoder both"),
        (["--trials", "3"], "it is for --models"),
    ):
        assert cli.main([*words, *wrong]) == 2
        assert named in capsys.readouterr().err


def test_runs_for_other_data_are_refused(place, tmp_path):
    method = anyjepa.create("ijepa", size="nano", image_size=[16, 16], patch_size=4, dim=16, depth=1)
    write_directory(tmp_path / "images", own_files(Loaded(method, True, ImageConfig())), False)
    with pytest.raises(ConfigError, match="models are compared on tables"):
        compare(tmp_path / "images", place / "people.csv", models=["xgboost"])
