"""The estimator: alone, in pipelines and searches, in other processes, and under scikit-learn's own checks."""

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import anyjepa
from anyjepa.data import ImageConfig, ImageDataset
from anyjepa.embedding import Embedder
from anyjepa.errors import CheckpointError, ConfigError, DataError
from anyjepa.training import load_method

TINY = {
    "model": {
        "dim": 16, "depth": 1, "heads": 2, "predictor_width": 8, "predictor_depth": 1, "patch_size": 2,
        "masks": {"target_scale": [0.15, 0.3]},
    }
}  # fmt: skip


def tiny(**fields) -> Embedder:
    return Embedder(
        **{"steps": 2, "batch_size": 8, "options": TINY, "random_state": 0, "device": "cpu"} | fields
    )


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    return (bunch.images / 16).astype(np.float32), bunch.target


def test_it_is_lazy_and_public():
    assert anyjepa.Embedder is Embedder


def test_a_pretrained_one_gives_what_its_encoder_says(run, digits):
    images = digits[0][:40]
    bytes_ = np.rint(images * 255).astype(np.uint8)
    found = Embedder(pretrained=run).fit(bytes_).transform(bytes_)
    assert found.shape == (40, 16) and found.dtype == np.float32
    plain = torch.from_numpy(bytes_[:, None].astype(np.float32)) / 255
    with torch.inference_mode():
        expected = load_method(run).encode((plain - 0.5) / 0.5).pooled
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(Embedder(str(run)).transform(bytes_), found)


def test_layers_join_and_name_the_features(run, digits):
    embedder = Embedder(run and str(run), layers=(0, -1))
    assert embedder.fit(digits[0][:4]).transform(digits[0][:4]).shape == (4, 32)
    assert embedder.get_feature_names_out()[[0, -1]].tolist() == ["embedder0", "embedder31"]
    frame = embedder.set_output(transform="pandas").transform(digits[0][:4])
    assert list(frame.columns) == embedder.get_feature_names_out().tolist()


def test_arrays_files_lists_and_flat_images_are_the_same(colour_run, photos):
    files = sorted(photos.rglob("*.png"))[::3]
    for file in files:
        Image.open(file).resize((8, 8)).save(file)
    array = np.stack([np.asarray(Image.open(file)) for file in files])
    embedder = Embedder(pretrained=colour_run)
    expected = embedder.transform(array)
    names = [str(file) for file in files]
    for same in (names, files, np.array(names), array.transpose(0, 3, 1, 2)):
        np.testing.assert_allclose(embedder.transform(same), expected, rtol=1e-5, atol=1e-6)
    flat = Embedder(pretrained=colour_run, image_shape=(8, 8, 3)).transform(array.reshape(len(array), -1))
    np.testing.assert_array_equal(flat, expected)
    folder = ImageDataset.open(photos, ImageConfig(channels=3), (8, 8))
    assert len(embedder.transform(photos)) == len(folder) == 40


def test_fit_ignores_labels_and_repeats_with_its_random_state(digits):
    images, labels = digits
    first = tiny().fit(images[:64], labels[:64])
    again = tiny().fit(images[:64], labels[:64][::-1])
    np.testing.assert_array_equal(first.transform(images[:9]), again.transform(images[:9]))
    other = tiny(random_state=1).fit(images[:64])
    assert not np.allclose(first.transform(images[:9]), other.transform(images[:9]))


def test_fit_trains(digits):
    images = digits[0][:64]
    short, longer = tiny(steps=1).fit_transform(images), tiny(steps=6).fit_transform(images)
    assert not np.allclose(short, longer)


def test_it_is_quiet_leaves_no_files_and_does_not_touch_torch_generators(
    digits, capfd, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state = torch.get_rng_state()
    tiny().fit(digits[0][:32])
    shown = capfd.readouterr()
    assert shown.out == shown.err == "" and not list(tmp_path.iterdir())
    assert torch.equal(torch.get_rng_state(), state)
    tiny(verbose=1).fit(digits[0][:32])
    assert "step" in "".join(capfd.readouterr())


def test_runs_are_kept_where_they_are_wanted(digits, tmp_path):
    embedder = tiny(out=tmp_path / "runs")
    first = embedder.fit(digits[0][:32]).run_
    second = embedder.fit(digits[0][:32]).run_
    assert first != second and Path(first).parent == tmp_path / "runs"
    np.testing.assert_array_equal(
        Embedder(second).transform(digits[0][:5]), embedder.transform(digits[0][:5])
    )


def test_clone_parameters_and_pickle(digits):
    embedder = tiny()
    assert clone(embedder).get_params() == embedder.get_params()
    assert clone(embedder).set_params(steps=3, layers=(0,)).get_params()["layers"] == (0,)
    embedder.fit(digits[0][:32])
    assert not hasattr(clone(embedder), "method_")
    copy = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(copy.transform(digits[0][:5]), embedder.transform(digits[0][:5]))


def test_a_grid_search_over_layers_and_methods(run, digits):
    images, labels = digits[0][:90], digits[1][:90]
    pipeline = make_pipeline(tiny(), StandardScaler(), LogisticRegression(max_iter=200))
    grid = {"embedder__layers": [(-1,), (0, -1)], "embedder__pretrained": [run]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(images, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all() and search.predict(images).shape == (90,)


def test_it_works_in_other_processes(run, digits):
    images, labels = digits[0][:300], digits[1][:300]
    pipeline = make_pipeline(Embedder(pretrained=run), StandardScaler(), LogisticRegression(max_iter=300))
    alone = cross_val_score(pipeline, images, labels, cv=2)
    np.testing.assert_allclose(cross_val_score(pipeline, images, labels, cv=2, n_jobs=2), alone, atol=0.02)


@pytest.mark.parametrize(
    "images, error, said",
    [
        (np.zeros((3, 64)), DataError, "expected images"),
        (np.full((3, 8, 8), 16.0), DataError, "divide"),
        (np.zeros((3, 8, 8), dtype=int), DataError, "convert"),
        (np.zeros((0, 8, 8)), DataError, "shape"),
        (np.full((3, 8, 8), np.nan), DataError, "finite"),
        ([], DataError, "shape"),
        (["no.png"], DataError, r"no\.png"),
        ("no/such/folder", DataError, "does not exist"),
        ([np.zeros((8, 8)), np.zeros((9, 9))], DataError, "one size"),
    ],
)
def test_what_is_not_images_is_named(run, images, error, said):
    for use in (Embedder(pretrained=run).fit, Embedder(pretrained=run).transform, tiny().fit):
        with pytest.raises(error, match=said):
            use(images)


def test_a_broken_file_is_an_error_and_never_a_shifted_row(colour_run, photos):
    files = sorted(photos.rglob("*.png"))
    files[5].write_bytes(b"broken")
    with pytest.raises(DataError, match=files[5].name):
        Embedder(pretrained=colour_run).transform(files)


@pytest.mark.parametrize(
    "fields, error, said",
    [
        (dict(method="ijpea"), ConfigError, "did you mean 'ijepa'"),
        (dict(options={"modle": {}}), ConfigError, "did you mean 'model'"),
        (dict(options={"model": {"dimm": 3}}), ConfigError, "dim"),
        (dict(pretrained="nowhere"), CheckpointError, "nowhere"),
        (dict(image_shape=(4, 4)), DataError, "image_shape"),
    ],
)
def test_wrong_parameters_are_named_by_fit(digits, fields, error, said):
    with pytest.raises(error, match=said):
        tiny(**fields).fit(digits[0][:8])


# scikit-learn gives its other checks to no estimator whose X is not a table. One more that would apply makes the constructor of
# nonsense, which the run-time types of these tests refuse: check_do_not_raise_errors_in_init_or_set_params.
CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_mixin_order,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_checks_of_scikit_learn(check):
    check("Embedder", Embedder(steps=1))
