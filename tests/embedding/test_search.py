"""Neighbours: against a plain product, for every kind of query, and what is refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from little_runs import make_run
from PIL import Image

import anyjepa.embedding.stored as stored_module
from anyjepa.cli import main
from anyjepa.embedding import Embeddings, contact_sheet, embed, search
from anyjepa.embedding.faiss_index import index_beside
from anyjepa.errors import CheckpointError, ConfigError, DataError


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """500 vectors with ids and labels, in a file of other origin; row 7 is there twice more."""
    folder = tmp_path_factory.mktemp("vectors")
    values = np.random.default_rng(0).normal(size=(500, 12)).astype(np.float32)
    values[[100, 300]] = values[7]
    table = {
        "id": [f"image {i}" for i in range(500)],
        "label": [i % 3 for i in range(500)],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 12),
    }
    pq.write_table(pa.table(table), folder / "v.parquet", row_group_size=64)
    return folder / "v.parquet", values


def expected(values, row, k):
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = units @ units[row]
    cosines[row] = -2
    return np.argsort(-cosines, kind="stable")[:k], np.sort(cosines)[::-1][:k]


def test_neighbours_are_those_of_a_plain_product(vectors, monkeypatch):
    path, values = vectors
    for chunk in (1, 7, 64, 10_000):
        monkeypatch.setattr(stored_module, "CHUNK", chunk)
        for row in (0, 250, 499):
            (answer,) = search(path, [row], k=9)
            rows, cosines = expected(values, row, 9)
            assert [n.row for n in answer.neighbours] == rows.tolist()
            np.testing.assert_allclose([n.cosine for n in answer.neighbours], cosines, atol=1e-6)
            assert [n.id for n in answer.neighbours] == [f"image {r}" for r in rows]
            assert [n.label for n in answer.neighbours] == [r % 3 for r in rows]


def test_a_query_is_not_its_own_neighbour_but_its_doubles_are(vectors):
    (answer,) = search(vectors[0], ["image 7"], k=2)
    assert {n.row for n in answer.neighbours} == {100, 300} and answer.row == 7 and answer.label == 1
    assert all(0.9999 < n.cosine <= 1 for n in answer.neighbours)


def test_more_neighbours_than_there_are_give_all_others(vectors):
    (answer,) = search(vectors[0], [3], k=10_000)
    assert len(answer.neighbours) == 499 and len({n.row for n in answer.neighbours}) == 499


@pytest.mark.parametrize(
    "queries, options, error, said",
    [
        (["image 9999"], {}, DataError, "did you mean 'image 9"),
        ([500], {}, DataError, "rows 0 to 499"),
        ([], {}, ConfigError, "no query"),
        ([1], {"k": 0}, ConfigError, "at least 1"),
        ([1], {"index": "fais"}, ConfigError, "did you mean 'faiss'"),
    ],
)
def test_what_cannot_be_answered_is_named(vectors, queries, options, error, said):
    with pytest.raises(error, match=said):
        search(vectors[0], queries, **options)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """40 pictures of two kinds, embedded, and the run that did it."""
    folder = tmp_path_factory.mktemp("embedded")
    run = make_run(folder / "run", channels=3)
    draw = np.random.default_rng(0)
    for i in range(40):
        place = folder / "photos" / ("dark" if i % 2 else "light")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(place / f"{i:02d}.png")
    embed(run, folder / "photos", folder / "e.parquet", labels=True)
    embed(run, folder / "photos", folder / "e.npy", labels=True)
    return folder


@pytest.mark.parametrize("name", ["e.parquet", "e.npy"])
def test_a_picture_finds_itself(embedded, name):
    picture = embedded / "photos/dark/07.png"
    (answer,) = search(embedded / name, [str(picture)], k=3)
    assert answer.neighbours[0].id == "dark/07.png" and answer.neighbours[0].cosine > 0.99999
    assert answer.neighbours[0].label == "dark" and answer.row is None and len(answer.neighbours) == 3


def test_several_queries_keep_their_order(embedded):
    asked = ["dark/01.png", str(embedded / "photos/light/02.png"), "5", str(embedded / "photos/dark/03.png")]
    answers = search(embedded / "e.parquet", asked, k=1)
    assert [a.query for a in answers] == asked
    assert answers[1].neighbours[0].id == "light/02.png" and answers[3].neighbours[0].id == "dark/03.png"


def test_the_run_of_a_picture_must_hold_the_same_weights(embedded, tmp_path):
    picture = str(embedded / "photos/dark/07.png")
    with pytest.raises(ConfigError, match="other weights"):
        search(embedded / "e.parquet", [picture], run=make_run(tmp_path / "other", seed=1, channels=3))
    with pytest.raises(CheckpointError, match="--run"):
        search(embedded / "e.parquet", [picture], run=tmp_path / "nowhere")
    moved = make_run(tmp_path / "moved", channels=3)
    assert search(embedded / "e.parquet", [picture], run=moved)[0].neighbours[0].id == "dark/07.png"


def test_a_later_checkpoint_does_not_hide_the_one_that_embedded(embedded, tmp_path):
    run = make_run(tmp_path / "run", channels=3)
    embed(run, embedded / "photos", tmp_path / "e.parquet")
    make_run(run, seed=5, step=9, channels=3)
    picture = str(embedded / "photos/dark/07.png")
    assert search(tmp_path / "e.parquet", [picture])[0].neighbours[0].cosine > 0.99999


def test_a_broken_picture_is_an_error(embedded, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"broken\.png"):
        search(embedded / "e.parquet", [str(tmp_path / "broken.png")])


def test_tokens_are_not_searched(embedded):
    embed(embedded / "run", embedded / "photos", embedded / "t.parquet", tokens=True)
    with pytest.raises(DataError, match="embed without --tokens"):
        search(embedded / "t.parquet", ["0"])


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("x.parquet", b"nothing", "not a whole parquet"),
        ("x.npy", b"nothing", "lacks the names"),
        ("x.txt", b"", "not a file of embeddings"),
        ("y.parquet", None, "anyjepa embed RUN"),
    ],
)
def test_files_that_hold_no_embeddings_are_named(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        search(tmp_path / name, ["0"])


def test_the_command_prints_text_json_and_a_picture(embedded, tmp_path, capsys):
    base = ["search", str(embedded / "e.parquet"), "--query", "dark/07.png", "-k", "4"]
    assert main(base) == 0
    text = capsys.readouterr().out
    assert text.startswith("query dark/07.png  label dark") and len(text.splitlines()) == 5
    sheet = tmp_path / "sheet.png"
    assert main([*base, "--json", "--picture", str(sheet)]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert len(answer["neighbours"]) == 4 and set(answer["neighbours"][0]) == {"row", "id", "cosine", "label"}
    with Image.open(sheet) as image:
        assert image.width > 5 * 96 and len(image.getcolors(1 << 24)) > 100


def test_a_picture_of_changed_data_is_refused(embedded, tmp_path):
    run = make_run(tmp_path / "run", channels=3)
    (tmp_path / "few").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (8, 8), {"a": "red"}.get(name[0], "blue")).save(tmp_path / "few" / name)
    embed(run, tmp_path / "few", tmp_path / "few.parquet")
    answers = search(tmp_path / "few.parquet", ["a.png"])
    (tmp_path / "few" / "a.png").unlink()
    with pytest.raises(DataError, match="changed since"):
        contact_sheet(tmp_path / "few.parquet", answers, tmp_path / "sheet.png")


class TestFaiss:
    """The index finds what exact search finds, and is built again when the embeddings change."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install 'anyjepa[search]'")

    def test_it_finds_nearly_all_true_neighbours(self, vectors):
        exact = search(vectors[0], list(range(50)), k=10)
        found = search(vectors[0], list(range(50)), k=10, index="faiss")
        hits = [
            len({n.row for n in a.neighbours} & {n.row for n in b.neighbours})
            for a, b in zip(exact, found, strict=True)
        ]
        assert np.mean(hits) > 9.8

    def test_it_is_kept_and_built_again_when_it_must(self, tmp_path):
        def write(seed):
            values = np.random.default_rng(seed).normal(size=200 * 4).astype(np.float32)
            columns = {
                "id": list(map(str, range(200))),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(values), 4),
            }
            pq.write_table(pa.table(columns), tmp_path / "v.parquet")

        write(0)
        search(tmp_path / "v.parquet", [0], index="faiss")
        file = index_beside(tmp_path / "v.parquet")
        first = file.stat().st_mtime_ns
        search(tmp_path / "v.parquet", [0], index="faiss")
        assert file.stat().st_mtime_ns == first
        write(1)
        (fresh,) = search(tmp_path / "v.parquet", [0], k=3, index="faiss")
        assert [n.row for n in fresh.neighbours] == [
            n.row for n in search(tmp_path / "v.parquet", [0], k=3)[0].neighbours
        ]
        file.write_bytes(b"torn")
        assert search(tmp_path / "v.parquet", [0], k=3, index="faiss") == [fresh]


def test_rows_of_embeddings_are_read_alone(vectors):
    stored = Embeddings(vectors[0])
    np.testing.assert_array_equal(stored.vector(450), vectors[1][450])
    assert stored.column("id", [499, 0, 64, 63]) == ["image 499", "image 0", "image 64", "image 63"]
    assert stored.find("image 321") == 321 and stored.find("image") is None
