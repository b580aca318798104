"""The kinds of data, and how they are told apart."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anyjepa.config import to_dict
from anyjepa.data.modalities import MODALITIES, modality, recognise
from anyjepa.errors import AnyjepaError, ConfigError, DataError
from anyjepa.registry import entry, names
from anyjepa.training import RunConfig

each = pytest.mark.parametrize("kind", MODALITIES.values(), ids=list(MODALITIES))


@pytest.mark.parametrize("name", [n for n in names() if entry(n).modality in MODALITIES])
def test_every_method_is_for_a_kind_of_data(name):
    kind = modality(entry(name).modality)
    config = RunConfig(name, entry(name).config(), "x", "y")
    assert isinstance(config.reading, kind.config)
    assert kind.name in config.plain() and "reading" not in config.plain()
    assert RunConfig.from_mapping(config.plain()) == config


@each
def test_what_every_kind_has(kind):
    config = kind.config()
    assert 0 <= config.max_broken <= 1 and hasattr(config, "limit")
    assert kind.published(config).keys() <= to_dict(config).keys()


@each
def test_nothing_there_is_one_clear_error(kind, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        kind.open(tmp_path / "nowhere", kind.config())
    with pytest.raises(DataError, match=str(tmp_path)):
        kind.open(tmp_path, kind.config())


@each
def test_samples_of_another_kind_are_refused(kind):
    with pytest.raises(AnyjepaError):
        kind.suit(kind.config(), (2, 3, 4, 5, 6))


def test_an_unknown_kind():
    with pytest.raises(ConfigError, match="images"):
        modality("image")


def test_kinds_are_told_by_their_files(tmp_path):
    for kind in MODALITIES.values():
        for ending in kind.endings:
            (tmp_path / f"a{ending}").touch()
            assert recognise(tmp_path / f"a{ending}") is kind
            assert recognise(tmp_path) is kind
            (tmp_path / f"a{ending}").unlink()
    assert recognise(tmp_path).name == "images"


def test_films_of_demonstrations_are_no_videos(tmp_path):
    for place in ("meta", "videos"):
        (tmp_path / place).mkdir()
    (tmp_path / "meta" / "info.json").touch()
    (tmp_path / "videos" / "a.mp4").touch()
    assert recognise(tmp_path).name == "episodes" and recognise(tmp_path / "videos").name == "video"
    assert recognise(tmp_path / "pusht.zarr").name == "episodes"


def test_tables_of_rows_are_told_from_tables_of_images(tmp_path):
    def kind(name, text):
        (tmp_path / name).write_text(text)
        return recognise(tmp_path / name).name

    assert kind("rows.csv", "age,job\n31,clerk\n") == "tables"
    assert kind("unnamed.tsv", "1\t1\t0\n2\t3\t0\n") == "tables"
    assert kind("paths.csv", "path,label\na.png,3\n") == "images"
    assert kind("unnamed.csv", "a.png,3\nb.png,4\n") == "images"
    assert kind("one.csv", "file\na.png\n") == "images"
    assert kind("empty.csv", "") == "images"
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.csv").write_text("age,job\n31,clerk\n")
    assert recognise(tmp_path / "rows").name == "tables"
    for name, column in (("rows", pa.array([1.5])), ("images", pa.array([b"x"])), ("paths", pa.array(["x"]))):
        file = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"y": pa.array([1]), "x" if name != "paths" else "image": column}), file)
        assert recognise(file).name == ("tables" if name == "rows" else "images")
