"""Embeddings in a file: what is in it, that nothing of ours is needed to read it, and what is refused."""

import csv
import errno
import json
import time
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from little_runs import make_run

import anyjepa.embedding.files as files_module
import anyjepa.embedding.parts as parts_module
import anyjepa.embedding.write as embed_module
from anyjepa.cli import main
from anyjepa.data import ImageConfig, ImageDataset, open_source
from anyjepa.embedding import Embeddings, embed
from anyjepa.embedding.ahead import ahead
from anyjepa.embedding.parts import alone
from anyjepa.errors import CheckpointError, ConfigError, DataError
from anyjepa.training import load_method


def encoded(run, data, **options):
    """The representation as the method itself gives it."""
    method = load_method(run)
    dataset = ImageDataset.open(data, ImageConfig(channels=method.input_shape()[0]), method.input_shape()[1:])
    with torch.inference_mode():
        return method.encode(dataset.evaluation(range(len(dataset))), **options)


def test_parquet_holds_what_the_encoder_says(run, tmp_path):
    made = embed(run, "digits:test", tmp_path / "e.parquet", labels=True)
    table = pq.read_table(tmp_path / "e.parquet")
    assert made.rows == len(table) == 450 and made.shape == (16,) and made.broken == 0
    assert table.schema.field("vector").type.list_size == 16 and table.column_names == [
        "id", "index", "label", "vector"
    ]  # fmt: skip
    source = open_source("digits:test", labels=True)
    assert table["id"].to_pylist() == [source.identity(i) for i in range(450)]
    assert table["index"].to_pylist() == list(range(450))
    assert table["label"].to_pylist() == source.labels.tolist()
    vectors = np.stack(table["vector"].to_pylist()).astype(np.float32)
    np.testing.assert_allclose(vectors, encoded(run, "digits:test").pooled, rtol=1e-5, atol=1e-6)
    assert len(set(table["id"].to_pylist())) == 450
    assert not (tmp_path / "e.parquet.parts").exists() and not (tmp_path / "e.parquet.broken.csv").exists()


def test_pandas_and_numpy_read_the_same_numbers(run, tmp_path):
    embed(run, "digits:test", tmp_path / "e.parquet")
    embed(run, "digits:test", tmp_path / "e.npy", labels=True)
    mapped = np.load(tmp_path / "e.npy", mmap_mode="r")
    assert mapped.shape == (450, 16) and mapped.dtype == np.float32 and isinstance(mapped, np.memmap)
    frame = pd.read_parquet(tmp_path / "e.parquet")
    np.testing.assert_array_equal(np.stack(frame["vector"]), mapped)
    ids = pd.read_parquet(tmp_path / "e.ids.parquet")
    assert ids["id"].tolist() == frame["id"].tolist() and set(ids) == {"id", "index", "label"}


def test_the_file_says_how_it_was_made(run, tmp_path):
    embed(run, "digits:test", tmp_path / "e.parquet", layers=(0, -1), encoder="context", limit=20)
    said = json.loads(pq.read_schema(tmp_path / "e.parquet").metadata[b"anyjepa"])
    expected = {
        "method": "ijepa", "run": str(run), "step": 3, "checkpoint": "checkpoints/step-00000003",
        "encoder": "context", "layers": [0, -1], "pooling": "mean", "shape": [32], "dtype": "float32",
        "data": "digits:test", "samples": 20, "modality": "images",
    }  # fmt: skip
    assert {k: said[k] for k in expected} == expected and said["anyjepa"]
    assert said["reading"]["size"] == [8, 8] and said["reading"]["channels"] == 1


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_layers_and_tokens_lie_as_documented(run, tmp_path, ending):
    out = tmp_path / f"e{ending}"
    made = embed(run, "digits:test", out, tokens=True, layers=(0, -1), limit=70, batch_size=16)
    assert made.shape == (16, 32)
    if ending == ".npy":
        values = np.load(out)
    else:
        table = pq.read_table(out)
        shape = json.loads(table.schema.metadata[b"anyjepa"])["shape"]
        values = np.stack(table["vector"].to_pylist()).reshape(-1, *shape)
    config = ImageConfig(limit=70)
    method, dataset = load_method(run), ImageDataset.open("digits:test", config, (8, 8))
    with torch.inference_mode():
        images = dataset.evaluation(range(70))
        expected = torch.cat([method.encode(images, layer=layer).tokens for layer in (0, -1)], dim=2)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_half_precision_is_the_rounded_single(run, tmp_path, ending):
    embed(run, "digits:test", tmp_path / f"single{ending}", limit=30)
    embed(run, "digits:test", tmp_path / f"half{ending}", limit=30, dtype="float16")
    single, half = (Embeddings(tmp_path / f"{name}{ending}") for name in ("single", "half"))
    np.testing.assert_array_equal(
        np.concatenate(list(half.chunks())), np.concatenate(list(single.chunks())).astype(np.float16)
    )


def test_what_half_precision_cannot_hold_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        embed_module, "vector_reader", lambda *a, **k: lambda images: torch.full((len(images), 3), 1e5)
    )
    with pytest.raises(DataError, match="--dtype float32"):
        embed(run, "digits:test", tmp_path / "e.parquet", dtype="float16")
    assert embed(run, "digits:test", tmp_path / "f.parquet").rows == 450


def test_class_names_are_the_labels_of_a_folder(colour_run, photos, tmp_path):
    embed(colour_run, photos, tmp_path / "e.parquet", labels=True)
    frame = pd.read_parquet(tmp_path / "e.parquet")
    assert frame["label"].tolist() == ["cat"] * 20 + ["dog"] * 20
    assert frame["id"][0] == "cat/00.png" and frame["id"].is_unique


def test_labels_are_not_read_unless_asked(colour_run, photos, tmp_path):
    embed(colour_run, photos, tmp_path / "e.parquet")
    assert pq.read_schema(tmp_path / "e.parquet").names == ["id", "index", "vector"]


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_broken_images_are_left_out_counted_and_listed(colour_run, photos, tmp_path, ending):
    for name in ("cat/00.png", "dog/25.png", *(f"dog/{i}.png" for i in range(32, 36)), "dog/39.png"):
        (photos / name).write_bytes(b"not a picture")
    out = tmp_path / f"e{ending}"
    made = embed(colour_run, photos, out, batch_size=4)
    with (tmp_path / f"{out.name}.broken.csv").open() as file:
        listed = [(row["id"], int(row["index"])) for row in csv.DictReader(file)]
    assert made.broken == 7 and made.rows == 33 and "7 images could not be read" in str(made)
    assert listed == [
        ("cat/00.png", 0), ("dog/25.png", 25), *((f"dog/{i}.png", i) for i in range(32, 36)), ("dog/39.png", 39)
    ]  # fmt: skip
    stored = Embeddings(out)
    index = stored.column("index", range(33))
    assert index == [i for i in range(40) if i not in (0, 25, 32, 33, 34, 35, 39)]
    whole = [n for n in index if n not in (36, 37, 38)]
    source = ImageDataset.open(photos, ImageConfig(channels=3, max_broken=1.0), (8, 8))
    with torch.inference_mode():
        expected = load_method(colour_run).encode(source.evaluation(whole)).pooled
    got = np.concatenate(list(stored.chunks()))[: len(whole)]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_a_mended_data_set_leaves_no_old_list(colour_run, photos, tmp_path):
    good = (photos / "cat/00.png").read_bytes()
    (photos / "cat/00.png").write_bytes(b"")
    assert embed(colour_run, photos, tmp_path / "e.parquet").broken == 1
    (photos / "cat/00.png").write_bytes(good)
    with pytest.raises(ConfigError, match="content was"):
        embed(colour_run, photos, tmp_path / "e.parquet")
    assert embed(colour_run, photos, tmp_path / "e.parquet", overwrite=True).broken == 0
    assert not (tmp_path / "e.parquet.broken.csv").exists()


def test_a_data_set_of_broken_images_is_an_error(colour_run, photos, tmp_path):
    for file in photos.rglob("*.png"):
        file.write_bytes(b"no")
    with pytest.raises(DataError, match=r"cat/00\.png"):
        embed(colour_run, photos, tmp_path / "e.parquet")
    assert not (tmp_path / "e.parquet").exists()


def test_an_empty_folder_is_an_error(run, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no images"):
        embed(run, tmp_path / "none", tmp_path / "e.parquet")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"layers": (0,)}, r"layers was \[-1\], is \[0\]"),
        ({"encoder": "context"}, "encoder was target, is context"),
        ({"tokens": True}, "pooling was mean, is none"),
        ({"dtype": "float16"}, "dtype was float32, is float16"),
        ({"limit": 7}, "samples was 450, is 7"),
        ({"labels": True}, "labels was False, is True"),
        ({"batch_size": 32}, "batch_size was 64, is 32"),
    ],
)
def test_other_options_are_refused_by_name(run, tmp_path, change, said):
    out = tmp_path / "e.parquet"
    embed(run, "digits:test", out)
    before = out.read_bytes()
    with pytest.raises(ConfigError, match=said):
        embed(run, "digits:test", out, **change)
    assert out.read_bytes() == before
    assert embed(run, "digits:test", out, **change, overwrite=True).out == out
    assert out.read_bytes() != before


def test_another_model_is_refused_and_a_moved_one_is_not(run, tmp_path):
    out = tmp_path / "e.parquet"
    embed(run, "digits:test", out, limit=20)
    other = make_run(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match="weights was"):
        embed(other, "digits:test", out, limit=20)
    same = make_run(tmp_path / "same")
    assert embed(same, "digits:test", out, limit=20).rows == 20


def test_a_finished_file_is_finished(run, tmp_path, monkeypatch):
    embed(run, "digits:test", tmp_path / "e.parquet", limit=20)
    monkeypatch.setattr(embed_module, "_rest", None)
    assert embed(run, "digits:test", tmp_path / "e.parquet", limit=20).rows == 20


def test_a_foreign_file_is_not_written_over(run, tmp_path):
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "e.parquet")
    np.save(tmp_path / "e.npy", np.zeros((2, 2)))
    for name in ("e.parquet", "e.npy"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(DataError):
            embed(run, "digits:test", tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    "options, error",
    [
        (dict(out="e.csv"), "must end in .parquet or .npy"),
        (dict(batch_size=0), "batch_size must be at least 1"),
        (dict(layers=()), "layers is empty"),
        (dict(layers=(7,)), "not all in the encoder"),
        (dict(layers=(7,), tokens=True), "not all in the encoder"),
        (dict(encoder="student"), "unknown encoder"),
        (dict(device="tpu"), "cannot be used"),
        (dict(dtype="int8"), "dtype must be"),
        (dict(limit=0), "at least 1 image"),
    ],
)
def test_impossible_settings_are_named(run, tmp_path, options, error):
    options = {"out": "e.parquet"} | options
    with pytest.raises(ConfigError, match=error):
        embed(run, "digits:test", tmp_path / options.pop("out"), **options)
    assert not list(tmp_path.iterdir())


def test_a_file_within_the_data_is_refused(colour_run, photos):
    with pytest.raises(ConfigError, match="lies within the data"):
        embed(colour_run, photos, photos / "e.parquet")


def test_no_run_is_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        embed(tmp_path, "digits:test", tmp_path / "e.parquet")


def test_equal_names_are_refused_and_files_of_one_name_are_told_apart(colour_run, photos, tmp_path):
    pictures = [file.read_bytes() for file in sorted(photos.rglob("*.png"))][:3]
    for folder in ("a", "b"):
        (tmp_path / "tables" / folder).mkdir(parents=True)
        pq.write_table(pa.table({"image": pictures}), tmp_path / "tables" / folder / "train.parquet")
    embed(colour_run, tmp_path / "tables", tmp_path / "e.parquet")
    ids = pq.read_table(tmp_path / "e.parquet")["id"].to_pylist()
    assert ids[0] == "a/train.parquet row 0" and len(set(ids)) == 6


def test_two_processes_do_not_mix(run, tmp_path, monkeypatch):
    (tmp_path / "e.parquet.parts").mkdir()
    with alone(tmp_path / "e.parquet.parts"), pytest.raises(ConfigError, match="another process"):
        embed(run, "digits:test", tmp_path / "e.parquet")
    assert embed(run, "digits:test", tmp_path / "e.parquet").rows == 450


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
@pytest.mark.parametrize("fails_at", ["plan", "part", "join"])
def test_a_full_disk_is_one_error_and_nothing_is_lost(run, tmp_path, monkeypatch, capsys, ending, fails_at):
    monkeypatch.setattr(embed_module, "PART_SECONDS", 0.0)
    original, calls = parts_module.write_bytes, []

    def full(path, *parts):
        calls.append(path)
        if len(calls) == {"plan": 1, "part": 4}[fails_at]:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, *parts)

    def full_at_the_end(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        if fails_at == "join":
            patched.setattr(files_module, "_bring_to_disk", full_at_the_end)
        else:
            patched.setattr(parts_module, "write_bytes", full)
        out = tmp_path / f"e{ending}"
        assert main(["embed", str(run), "--data", "digits:test", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said and "free some space" in said and "Traceback" not in said
    assert not out.exists() and not list(tmp_path.rglob("*.partial"))
    kept = {"plan": 0, "part": 2, "join": 8}[fails_at]
    assert len(list(tmp_path.rglob("*.arrow"))) == kept
    embed(run, "digits:test", out)
    embed(run, "digits:test", tmp_path / f"whole{ending}")
    assert out.read_bytes() == (tmp_path / f"whole{ending}").read_bytes()


def test_memory_does_not_grow_with_the_data(run, tmp_path, monkeypatch):
    """4 MB of tokens pass through a few of memory: parts, row groups and the join are all streams."""
    monkeypatch.setattr(embed_module, "PART_BYTES", 1 << 18)
    monkeypatch.setattr(files_module, "_GROUP_BYTES", 1 << 18)
    np.save(tmp_path / "images.npy", np.zeros((4_000, 8, 8), dtype=np.uint8))
    embed(run, tmp_path / "images.npy", tmp_path / "warm.parquet", tokens=True, limit=64)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    peak = 0

    def watch(done, total):
        nonlocal peak
        if not done:
            # Loading a checkpoint takes some megabytes, whatever the data.
            tracemalloc.reset_peak()
        peak = max(peak, pool.bytes_allocated() - before)

    tracemalloc.start()
    embed(run, tmp_path / "images.npy", tmp_path / "e.parquet", tokens=True, progress=watch)
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "e.parquet").stat().st_size > 4_000 * 16 * 16 * 4 * 0.9
    assert peak < 1.5e6 and pool.bytes_allocated() - before < 1.5e6
    assert python < 1.5e6, f"{python / 1e6:.1f} MB of Python and NumPy memory"


def test_progress_counts_all_images_and_goes_on_where_it_was(run, tmp_path):
    seen = []
    embed(run, "digits:test", tmp_path / "e.parquet", progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 450) and seen[-1] == (450, 450)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_running_ahead_keeps_order_errors_and_ends():
    assert list(ahead(range(100))) == list(range(100))

    def breaks():
        yield 1
        raise DataError("broken")

    items = ahead(breaks())
    assert next(items) == 1
    with pytest.raises(DataError, match="broken"):
        next(items)
    made = []

    def endless():
        while True:
            made.append(1)
            yield 1

    items = ahead(endless(), depth=2)
    next(items)
    items.close()
    after = len(made)
    time.sleep(0.05)
    assert len(made) == after <= 5


def test_what_may_not_be_written_is_one_error(run, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "e.parquet"
    assert main(["embed", str(run), "--data", "digits:test", "--limit", "9", "--out", str(out)]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_overwriting_one_form_leaves_the_other_alone(run, tmp_path):
    for ending in (".npy", ".parquet", ".parquet"):
        embed(run, "digits:test", tmp_path / f"e{ending}", limit=9, overwrite=True)
    assert len(Embeddings(tmp_path / "e.npy")) == len(Embeddings(tmp_path / "e.parquet")) == 9
