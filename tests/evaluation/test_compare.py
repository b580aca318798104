"""Several runs, both encoders, measured values, bad input: the probe as a whole and its command."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from anyjepa.cli import main
from anyjepa.data import open_source
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation import AttentiveConfig, FinetuneConfig, ProbeResult, probe
from anyjepa.pretraining import pretrain
from anyjepa.training import RunConfig

TINY = dict(dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2, patch_size=2)
QUICK = dict(
    attentive=AttentiveConfig(lrs=(3e-3,), weight_decays=(0.01, 0.1), min_steps=10, max_steps=10),
    finetune=FinetuneConfig(min_steps=3, max_steps=3),
)


def tiny(out, size: int = 8, channels: int = 1, seed: int = 0) -> str:
    model = dict(TINY, optim=dict(steps=2), masks=dict(target_scale=[0.15, 0.3]), seed=seed)
    images = dict(limit=32, size=size, channels=channels)
    config = dict(method="ijepa", model=model, data="digits:train", out=str(out), images=images)
    train = dict(batch_size=8, workers=0, accelerator="cpu")
    pretrain(RunConfig.from_mapping(config | dict(train=train)))
    return str(out)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two alike, and one of other size and channels."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        tiny(folder / "a"),
        tiny(folder / "b", seed=1),
        tiny(folder / "c", size=12, channels=3),
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Few digits with their class, and with a measured value: how dark they are."""
    folder, source = tmp_path_factory.mktemp("data"), open_source("digits", labels=True)
    images = np.stack([source.read(i)[0].numpy() for i in range(360)])
    dark = images.mean((1, 2)) / 100 + 0.001
    found = {}
    for name, part in (("train", slice(0, 240)), ("test", slice(240, 360))):
        for kind, labels in (("class", source.labels), ("dark", dark)):
            found[name, kind] = folder / f"{name}-{kind}.npz"
            np.savez(found[name, kind], images=images[part], labels=labels[: len(images)][part])
    return found


@pytest.fixture(scope="module")
def compared(runs, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "compare.json"
    kinds = ("knn", "ridge", "attentive", "finetune")
    result = probe(
        runs, data["train", "class"], data["test", "class"], probes=kinds, labels=("25%", "all"), seeds=(0, 1), out=out, **QUICK
    )  # fmt: skip
    return result, out


def test_runs_of_any_size_stand_in_one_table(runs, compared):
    result, out = compared
    a, _, c = runs
    rows = [(r.features, r.run, r.labels) for r in result.rows]
    every = [("pretrained", run) for run in runs] + [("untrained", a), ("untrained", c)]
    every += [("raw", a), ("raw", c)]
    assert rows == [(*kind, n) for n in (60, 240) for kind in every]
    assert {r.dims for r in result.rows if r.features == "raw"} == {64, 3 * 12 * 12}
    assert result.shapes == ((1, 8, 8), (1, 8, 8), (3, 12, 12)) and result.test_size == 120
    assert ProbeResult.load(out) == result
    assert {s.probe for s in result.row("pretrained").scores} == {"knn", "ridge", "attentive", "finetune"}
    assert {s.probe for s in result.row("raw").scores} == {"knn", "ridge"}
    assert not (Path(runs[1]) / "probe.json").exists()


def test_each_run_is_compared_with_the_others_and_with_its_own_baselines(runs, compared):
    result, _ = compared
    a, b, c = runs
    pairs = {(x.first, x.second) for x in result.comparisons if x.probe == "ridge" and x.labels == 240}
    wanted = {(a, b), (a, c), (b, c)}
    wanted |= {(r, f"untrained ({a})") for r in (a, b)} | {(c, f"untrained ({c})")}
    assert pairs == wanted | {(r, f"raw ({a})") for r in (a, b)} | {(c, f"raw ({c})")}
    for x in result.comparisons:
        low, high = x.interval
        assert low <= x.difference <= high and x.exceeds_noise == (x.p < 0.05)
    # Two steps of training on features this narrow lose against the pixels, beyond doubt.
    against = [x for x in result.comparisons if x.second.startswith("raw") and x.probe == "ridge"]
    assert all(x.difference < 0 for x in against) and any(x.exceeds_noise for x in against)


def test_scores_have_intervals_that_hold_them(compared):
    result, _ = compared
    for row in result.rows:
        for score in row.scores:
            low, high = score.interval
            assert len(score.values) == 2 and 0 <= low < score.mean < high <= 1 and high - low > 0.05


def test_the_table_is_the_same_in_text_and_markdown(compared):
    result, _ = compared
    header, body = result.table()
    assert header == ["run", "features", "labels", "dims", "kNN %", "ridge %", "attentive %", "fine-tuned %"]
    assert len(body) == len(result.rows) + 1 and {len(cells) for cells in body} == {len(header)}
    assert body[-1][1] == "chance" and body[-2][-1] == "-"
    for text in (str(result), result.markdown()):
        assert all(cell in text for cells in body for cell in cells)
        assert "exceeds the noise" in text and "paired bootstrap" in text and "Wilson" in text


def test_equal_runs_do_not_differ(runs, data, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(runs[0], twin)
    result = probe([runs[0], twin], data["train", "class"], data["test", "class"], baselines=())
    assert [x.difference for x in result.comparisons] == [0.0, 0.0]
    assert not any(x.exceeds_noise for x in result.comparisons)


def test_both_encoders_are_read(runs, data):
    result = probe(runs[0], data["train", "class"], encoder="both", probes=("knn",), pooling="meanmax")
    kinds = [(r.features, r.encoder, r.dims) for r in result.rows]
    assert kinds == [
        *[(f, e, 32) for f in ("pretrained", "untrained") for e in ("target", "context")],
        ("raw", "", 64),
    ]
    assert ("pretrained target", "pretrained context") in {(x.first, x.second) for x in result.comparisons}
    assert "both encoders, mean and maximum" in str(result) and result.row("pretrained", encoder="context")


def test_measured_values_are_regressed(runs, data):
    probes = ("knn", "ridge", "attentive", "finetune")
    result = probe(runs[0], data["train", "dark"], data["test", "dark"], probes=probes, seeds=(0, 1), **QUICK)
    assert result.task == "regress" and result.classes == 0 and result.chance == 0
    raw = result.row("raw")
    # How dark the pixels are is linear in the pixels.
    assert raw.score("ridge").mean > 0.99 and raw.score("ridge", "mae").mean < 0.01
    assert raw.score("knn").mean < raw.score("ridge").mean
    low, high = raw.score("knn").interval
    assert low < raw.score("knn").mean < high < 1
    assert result.table()[0][3:7] == ["kNN R2", "kNN MAE", "ridge R2", "ridge MAE"]
    assert ProbeResult.load(runs[0]) == result and "R2" in str(result.comparisons[0])
    assert [s.probe for s in probe(runs[0], data["train", "dark"], baselines=()).rows[0].scores] == [
        *["knn"] * 2,
        *["ridge"] * 2,
    ]
    forced = probe(runs[0], data["train", "class"], task="regress", baselines=("raw",))
    assert 0 < forced.row("raw").score("ridge").mean < 1


def test_test_labels_choose_nothing(runs, data, tmp_path, monkeypatch):
    """Other test labels, the same answers: of every probe that chooses something."""
    from anyjepa.evaluation.fits import Fits

    answers = []
    original = Fits.answers

    def spy(self, *given):
        found = original(self, *given)
        answers.append(found)
        return found

    monkeypatch.setattr(Fits, "answers", spy)
    with np.load(data["test", "class"]) as held:
        images, labels = held["images"], held["labels"]
    np.savez(tmp_path / "other.npz", images=images, labels=np.random.default_rng(0).permutation(labels))
    kinds = ("knn", "linear", "ridge", "attentive", "finetune")
    results = []
    for test in (data["test", "class"], tmp_path / "other.npz"):
        result = probe(runs[0], data["train", "class"], test, probes=kinds, labels=60, baselines=(), **QUICK)
        results.append(result)
    first, second = answers[:5], answers[5:]
    assert len(first) == len(second) and all((a == b).all() for a, b in zip(first, second, strict=True))
    assert results[0].row("pretrained").scores != results[1].row("pretrained").scores


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(probes=("lineer",)), "did you mean 'linear'"),
        (dict(probes=()), "probes is empty"),
        (dict(labels="few"), "10%, or all"),
        (dict(labels="1%"), "number of classes, 10"),
        (dict(per_class=40), "per_class=40"),
        (dict(pooling="cls"), "mean"),
        (dict(out="no/such/folder/x.json"), "directory that exists"),
        (dict(task="regress", probes=("linear",)), "ridge"),
        (dict(encoder="neither"), "both"),
    ],
)
def test_impossible_settings_say_what_works(runs, data, options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        probe(runs[0], data["train", "class"], **options)


def test_runs_named_twice_or_not_at_all_are_refused(runs, data):
    with pytest.raises(ConfigError, match="named twice"):
        probe([runs[0], runs[0]], data["train", "class"])
    with pytest.raises(ConfigError, match="runs is empty"):
        probe([], data["train", "class"])


def bad(tmp_path, labels, n: int = 24):
    images = np.random.default_rng(0).integers(0, 255, (n, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "bad.npz", images=images, labels=labels)
    return tmp_path / "bad.npz"


def test_bad_labels_are_one_clear_error(runs, data, tmp_path):
    missing = np.where(np.arange(24) == 3, np.nan, 0.5 * np.arange(24))
    with pytest.raises(DataError, match="1 of 24 labels are not finite"):
        probe(runs[0], bad(tmp_path, missing))
    with pytest.raises(DataError, match="different values"):
        probe(runs[0], bad(tmp_path, np.full(24, 0.5)))
    with pytest.raises(DataError, match="R2 needs different values"):
        probe(runs[0], data["train", "dark"], bad(tmp_path, np.full(24, 0.5)))
    with pytest.raises(DataError, match="at least two classes"):
        probe(runs[0], bad(tmp_path, np.full(24, 3)))
    with pytest.raises(ConfigError, match="fractions"):
        probe(runs[0], data["train", "dark"], task="classify")
    with pytest.raises(DataError, match=r"shape|no images"):
        np.savez(tmp_path / "none.npz", images=np.zeros((0, 8, 8), np.uint8), labels=np.zeros(0, int))
        probe(runs[0], data["train", "class"], tmp_path / "none.npz")


def test_a_wrong_column_names_the_right_ones(runs, tmp_path):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    cells = []
    for i in range(20):
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8), 10 * i, np.uint8)).save(file, "PNG")
        cells.append(file.getvalue())
    columns = {"image": cells, "label": [i % 2 for i in range(20)], "age": [0.5 * i for i in range(20)]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="did you mean 'age'"):
        probe(runs[0], tmp_path / "t.parquet", label_column="aeg")
    assert probe(runs[0], tmp_path / "t.parquet", label_column="age", baselines=()).task == "regress"


def test_a_result_that_cannot_be_written_is_not_lost(runs, data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    # The package gives its function the name of this module.
    monkeypatch.setattr("anyjepa.evaluation.keep.write_whole", full)
    with pytest.raises(DataError, match=r"No space left[\s\S]*kNN %"):
        probe(runs[0], data["train", "class"], baselines=())


def test_the_command_compares_runs(runs, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["probe", *runs[:2], "--data", str(data["train", "class"]), "--labels", "50", "--per-class", "2"]
    words += ["--probes", "knn", "ridge", "--seeds", "0", "1", "--markdown", "--out", "compare.json"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("| run | features |") and "Differences:" in text
    stored = json.loads((tmp_path / "compare.json").read_text())
    assert {row["labels"] for row in stored["rows"]} == {50, 20}
    assert main([*words[:2], *words[3:5], "--probes", "nearest"]) == 2
    assert "knn, linear, ridge" in capsys.readouterr().err
