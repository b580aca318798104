"""T-JEPA as a scikit-learn transformer: its own checks, frames of every kind, files, bad tables, and files of its own."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import anyjepa
from anyjepa.errors import CheckpointError, ConfigError, DataError
from anyjepa.tabular import ESTIMATOR, TJEPA

TINY = {"model": {"dim": 8, "depth": 1, "predictor_depth": 1, "predictor_width": 8}}


def tiny(**fields) -> TJEPA:
    return TJEPA(
        **{"steps": 3, "batch_size": 16, "options": TINY, "random_state": 0, "device": "cpu"} | fields
    )


def table(rows: int = 40) -> pa.Table:
    draws = np.random.default_rng(0)
    age = draws.normal(40, 10, rows)
    return pa.table(
        {
            "age": pa.array(np.where(np.arange(rows) % 9 == 0, np.nan, age), from_pandas=True),
            "town": [None if i % 8 == 0 else ("Rome", "Oslo", "Bonn")[i % 3] for i in range(rows)],
            "same": [1.0] * rows,
            "member": (age > 40).tolist(),
        }
    )


@pytest.fixture(scope="module")
def fitted():
    return tiny().fit(table())


EXEMPTED = {
    "check_do_not_raise_errors_in_init_or_set_params": "it makes the constructor of nonsense, which the types that are checked "
    "while these tests run refuse",
}
"""Checks of scikit-learn that do not hold here, and why. None outside of these tests."""


def test_the_checks_of_scikit_learn():
    results = check_estimator(
        tiny(options=None, steps=1), on_fail=None, on_skip=None, expected_failed_checks=EXEMPTED
    )
    failed = {r["check_name"]: repr(r["exception"]) for r in results if r["status"] == "failed"}
    assert not failed and len(results) > 40
    assert {r["check_name"] for r in results if r["status"] == "xfail"} <= set(EXEMPTED)


def test_vectors_of_frames_are_the_tokens_of_their_columns(fitted):
    found = fitted.transform(table())
    assert found.shape == (40, 3 * 8) and found.dtype == np.float32
    assert fitted.get_feature_names_out()[[0, 8, 23]].tolist() == ["age_0", "town_0", "member_7"]
    assert fitted.n_features_in_ == 4 and fitted.feature_names_in_.tolist() == [
        "age",
        "town",
        "same",
        "member",
    ]
    assert dict(fitted.report_.left_out) == {"same": "always 1"} and fitted.diagnosis_ is not None
    mean = clone(fitted).set_params(pooling="mean").fit(table())
    np.testing.assert_allclose(mean.transform(table()), found.reshape(40, 3, 8).mean(axis=1), atol=1e-5)
    assert mean.get_feature_names_out()[0] == "tjepa0"


def test_columns_are_found_by_name_and_further_ones_ignored(fitted):
    expected = fitted.transform(table())
    turned = table().select(["member", "town", "same", "age"]).append_column("new", [["?"] * 40])
    np.testing.assert_array_equal(fitted.transform(turned), expected)
    np.testing.assert_array_equal(fitted.transform(table().drop_columns(["same"])), expected)
    with pytest.raises(DataError, match="no column 'town'"):
        fitted.transform(table().drop_columns(["town"]))


def test_frames_and_files_give_the_same(fitted, tmp_path):
    expected = fitted.transform(table())
    pq.write_table(table(), tmp_path / "t.parquet", row_group_size=7)
    np.testing.assert_array_equal(fitted.transform(tmp_path / "t.parquet"), expected)
    np.testing.assert_array_equal(tiny().fit(str(tmp_path / "t.parquet")).transform(table()), expected)
    pandas = pytest.importorskip("pandas")
    np.testing.assert_array_equal(fitted.transform(table().to_pandas()), expected)
    framed = clone(fitted).set_output(transform="pandas").fit(table().to_pandas())
    made = framed.transform(table().to_pandas())
    assert (
        isinstance(made, pandas.DataFrame) and list(made.columns) == fitted.get_feature_names_out().tolist()
    )
    np.testing.assert_array_equal(made, expected)
    polars = pytest.importorskip("polars", reason="polars is not installed")
    np.testing.assert_array_equal(fitted.transform(polars.from_arrow(table())), expected)
    np.testing.assert_array_equal(tiny().fit(polars.from_arrow(table())).transform(table()), expected)


def test_strange_categories_and_missing_values_are_a_token_of_their_own(fitted):
    rows = table(3).set_column(1, "town", [["Paris", None, "Rome"]])
    found = fitted.transform(rows).reshape(3, 3, 8)
    assert np.isfinite(found).all()
    again = fitted.transform(rows.set_column(1, "town", [[None, None, None]])).reshape(3, 3, 8)
    np.testing.assert_array_equal(found[:2], again[:2])
    assert not np.allclose(found[2], again[2])


def test_a_row_does_not_depend_on_the_rows_around_it(fitted):
    whole = fitted.transform(table())
    for rows in (1, 7, 17, 33):
        np.testing.assert_array_equal(fitted.transform(table().slice(3, rows)), whole[3 : 3 + rows])


def test_training_rows_alone_decide(fitted):
    """Other rows at transform time change neither scales nor categories."""
    before = fitted.reading_
    fitted.transform(table(80).slice(40))
    assert fitted.reading_ is before
    half = tiny().fit(table(80).slice(0, 40)).reading_.columns
    assert half != tiny().fit(table(80)).reading_.columns


def test_fit_repeats_with_its_random_state_and_ignores_y(fitted):
    np.testing.assert_array_equal(
        tiny().fit(table(), np.arange(40)).transform(table()), fitted.transform(table())
    )
    other = tiny(random_state=1).fit(table()).transform(table())
    assert not np.allclose(other, fitted.transform(table()))


def test_it_is_saved_without_pickle_and_loaded_by_all(fitted, tmp_path):
    fitted.save(tmp_path / "kept")
    assert {file.suffix for file in (tmp_path / "kept").iterdir()} == {".json", ".safetensors"}
    again = TJEPA.load(tmp_path / "kept")
    np.testing.assert_array_equal(again.transform(table()), fitted.transform(table()))
    assert again.get_params() == fitted.get_params()
    assert again.get_feature_names_out().tolist() == fitted.get_feature_names_out().tolist()
    assert anyjepa.load(tmp_path / "kept").input_shape() == (1, 3)
    with pytest.raises(ConfigError, match="already there"):
        fitted.save(tmp_path / "kept")
    fitted.save(tmp_path / "kept", overwrite=True)
    (tmp_path / "kept" / ESTIMATOR).write_text(
        json.dumps({"params": {"sise": 1}, "width": 4, "columns": None})
    )
    with pytest.raises(CheckpointError, match="sise"):
        TJEPA.load(tmp_path / "kept")
    with pytest.raises(CheckpointError):
        TJEPA.load(tmp_path)


def test_pickle_and_clone(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.transform(table()), fitted.transform(table()))
    assert not hasattr(clone(fitted), "method_")


def test_in_a_pipeline(fitted):
    draws = np.random.default_rng(0)
    X, y = draws.normal(size=(60, 4)), np.arange(60) % 2  # noqa: N806
    X[:, 0] += 4 * y
    model = make_pipeline(tiny(), StandardScaler(), LogisticRegression())
    assert model.fit(X[:40], y[:40]).score(X[40:], y[40:]) > 0.8


def test_names_and_positions_of_columns():
    X = np.column_stack([np.arange(20) % 3, np.arange(20.0), np.sin(np.arange(20))])  # noqa: N806
    model = tiny(categorical=[0], ignore=[-1], batch_size=8).fit(X)
    assert [(c.name, c.kind) for c in model.reading_.columns] == [("x0", "category"), ("x1", "number")]
    assert model.get_feature_names_out(["kind", "size", "wave"])[[0, 8]].tolist() == ["kind_0", "size_0"]
    with pytest.raises(ConfigError, match="no column 7"):
        tiny(categorical=[7]).fit(X)
    with pytest.raises(DataError, match="is expecting 3 features"):
        model.transform(X[:, :2])


def test_arrays_after_frames_and_frames_after_arrays_are_told():
    pandas = pytest.importorskip("pandas")
    X = np.random.default_rng(0).normal(size=(20, 3))  # noqa: N806
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    of_frame, of_array = tiny().fit(frame), tiny().fit(X)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(of_frame.transform(X), of_frame.transform(frame))
    with pytest.warns(UserWarning, match="fitted without feature names"):
        np.testing.assert_array_equal(of_array.transform(frame), of_array.transform(X))
    np.testing.assert_array_equal(of_array.transform(pandas.DataFrame(X)), of_array.transform(X))


@pytest.mark.parametrize(
    "fields, said",
    [
        (dict(pooling="maen"), "did you mean 'mean'"),
        (dict(encoder="both"), "encoder"),
        (dict(batch_size=0), "batch_size"),
        (dict(options={"modle": {}}), "did you mean 'model'"),
        (dict(size="huge"), "nano"),
        (dict(options={"model": {"dim": 9}}), "dim"),
    ],
)
def test_wrong_parameters_are_named_by_fit(fields, said):
    made = TJEPA(random_state=0, device="cpu")
    for name, value in fields.items():
        setattr(made, name, value)  # past the run-time types of these tests
    with pytest.raises(ConfigError, match=said):
        made.fit(table())


@pytest.mark.parametrize(
    "given, said",
    [
        (pa.table({"a": [1, 2, 3], "b": [1, 1, 1]}), "b: always 1"),
        (pa.table({"a": [1, 2, 3], "b": pa.nulls(3)}), "nothing but missing"),
        (table(1), "1 row"),
        (pa.table({"a": ["1", "2", "x"], "b": [1, 2, 3]}), "row 2 says 'x'"),
        (pa.Table.from_arrays([pa.array([1, 2]), pa.array([1, 2])], ["a", "a"]), "several columns"),
        (pa.table({"a": [1.0, np.inf], "b": [1, 2]}), "infinite in row 1"),
        ("nowhere.csv", "does not exist"),
    ],
)
def test_bad_tables_are_named(given, said):
    with pytest.raises(DataError, match=said):
        tiny().fit(given)


def test_it_is_quiet_and_leaves_nothing_behind(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    state = torch.get_rng_state()
    tiny().fit(table())
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())
    assert torch.equal(torch.get_rng_state(), state)
    kept = tiny(out=tmp_path / "runs").fit(table()).run_
    assert kept is not None and anyjepa.load(kept).input_shape() == (1, 3)
