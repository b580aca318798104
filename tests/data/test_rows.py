"""Tables as rows: kinds of columns, scales and categories of the training rows, every format, and every kind of bad table."""

import gzip
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from anyjepa.config import from_dict, to_dict
from anyjepa.data.modalities import modality
from anyjepa.data.tables_config import TablesConfig
from anyjepa.data.tables_files import BLOCK, open_table
from anyjepa.data.tables_modality import one_hot
from anyjepa.data.tables_source import RowStore, TableSource
from anyjepa.errors import ConfigError, DataError

TABLES = modality("tables")
SMALL = "age,town,sex\n30, Rome ,True\n40,Oslo,False\n,Rome,True\n50,?,False\n"


def write(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def opened(path, labels=False, **options) -> TableSource:
    return TABLES.open(path, TablesConfig(**options), labels=labels)


def rows(source) -> np.ndarray:
    return source.take(np.arange(len(source)))[:, 0].numpy()


def test_a_row_is_scaled_numbers_and_codes_with_nan_where_a_value_is_missing(tmp_path):
    source = opened(write(tmp_path, SMALL))
    age, town, sex = source.columns
    assert (town.kind, town.categories, sex.categories) == ("category", ("Oslo", "Rome"), ("False", "True"))
    assert (age.kind, age.shift) == ("number", 40.0)
    scale = float(np.std([30, 40, 50]))
    nan = np.nan
    expected = [[-10 / scale, 1, 1], [0, 0, 0], [nan, 1, 1], [10 / scale, nan, 0]]
    np.testing.assert_allclose(rows(source), expected, rtol=1e-6)
    assert source.read(2).shape == (1, 3) and source.identity(2) == "t.csv row 2"
    assert "missing values or unknown categories in 2 columns (age: 1, town: 1)" in str(source.report)


def test_minmax_and_none(tmp_path):
    path = write(tmp_path, SMALL)
    np.testing.assert_allclose(rows(opened(path, scaling="minmax"))[:, 0], [0, 0.5, np.nan, 1])
    np.testing.assert_allclose(rows(opened(path, scaling="none"))[:, 0], [30, 40, np.nan, 50])


def test_later_rows_are_read_with_what_the_training_rows_said(tmp_path):
    """Scales and categories stay, columns are found by name, strange ones are missing, further ones are ignored."""
    trained = opened(write(tmp_path, SMALL))
    later = write(tmp_path, "new,sex,town,age\n1,True,Bonn,60\n2,maybe,Oslo,\n", "later.csv")
    config = TablesConfig(columns=trained.columns)
    scale = trained.columns[0].scale
    found = rows(TABLES.open(later, config))
    np.testing.assert_allclose(found, [[20 / scale, np.nan, 1], [np.nan, 0, np.nan]], rtol=1e-6)
    with pytest.raises(DataError, match="no column 'town'"):
        TABLES.open(write(tmp_path, "age,sex\n1,True\n", "less.csv"), config)
    with pytest.raises(DataError, match="row 1 says 'old'"):
        TABLES.open(write(tmp_path, "age,sex,town\n1,True,Rome\nold,True,Rome\n", "bad.csv"), config)


def test_rare_categories_share_a_code_and_unknown_ones_have_it_too(tmp_path):
    text = "a,b\n" + "".join(f"{i},{'x' if i < 6 else 'y' if i < 10 else f'rare{i}'}\n" for i in range(14))
    source = opened(write(tmp_path, text), max_categories=2)
    column = source.columns[1]
    assert (column.categories, column.other, column.cardinality) == (("x", "y"), True, 3)
    assert rows(source)[:, 1].tolist() == [0] * 6 + [1] * 4 + [2] * 4
    assert source.report.rare == (("b", 4),)
    later = write(tmp_path, "a,b\n1,new\n2,\n", "later.csv")
    found = rows(TABLES.open(later, TablesConfig(columns=source.columns)))[:, 1]
    assert found[0] == 2 and np.isnan(found[1])


def test_every_format_gives_the_same_rows(tmp_path):
    expected = rows(opened(write(tmp_path, SMALL)))
    table = pa.table(
        {
            "age": pa.array([30, 40, None, 50], pa.int8()),
            "town": pa.array(["Rome", "Oslo", "Rome", None]).dictionary_encode(),
            "sex": [True, False, True, False],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "zipped.csv.gz").write_bytes(gzip.compress(SMALL.encode()))
    write(tmp_path, SMALL.replace(",", ";"), "semicolon.csv")
    write(tmp_path, SMALL.replace(",", "\t"), "tab.tsv")
    write(tmp_path, "﻿" + SMALL.replace("\n", "\r\n"), "windows.csv")
    for name in ("t.parquet", "zipped.csv.gz", "semicolon.csv", "tab.tsv", "windows.csv"):
        np.testing.assert_allclose(rows(opened(tmp_path / name)), expected, rtol=1e-6, err_msg=name)
    for given in (table, table.to_batches()[0], opened(tmp_path / "t.parquet")):
        np.testing.assert_allclose(rows(TABLES.given(given, TablesConfig())), expected, rtol=1e-6)
    pandas = pytest.importorskip("pandas")
    for frame in (table.to_pandas(), pandas.read_csv(io.StringIO(SMALL), skipinitialspace=True)):
        frame["town"] = frame["town"].replace({"?": None, "Rome ": "Rome"})
        np.testing.assert_allclose(rows(TABLES.given(frame, TablesConfig())), expected, rtol=1e-6)
    polars = pytest.importorskip("polars", reason="polars is not installed")
    np.testing.assert_allclose(
        rows(TABLES.given(polars.from_arrow(table), TablesConfig())), expected, rtol=1e-6
    )


def test_arrays_and_files_of_numbers(tmp_path):
    array = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    expected = (array - array.mean(0, dtype=np.float64)) / array.std(0, dtype=np.float64)
    for source in (
        opened(tmp_path / "a.npy"),
        TABLES.given(array, TablesConfig()),
        TABLES.given(array.tolist(), TablesConfig()),
    ):
        np.testing.assert_allclose(rows(source), expected, atol=1e-5)
        assert [c.name for c in source.columns] == ["x0", "x1", "x2"]


def test_a_folder_of_files_is_one_table_and_names_the_file_of_a_row(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for part in range(3):
        write(folder, "a,b\n" + "".join(f"{part * 10 + i},{i * i}\n" for i in range(4)), f"p{part}.csv")
    source = opened(folder, scaling="none")
    assert rows(source)[:, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    assert source.identity(5) == "p1.csv row 1"
    write(folder, "a,c\n1,2\n", "p3.csv")
    with pytest.raises(DataError, match=r"p3\.csv has no column b"):
        opened(folder)


def test_blocks_add_up_to_the_whole(tmp_path):
    """Mean and spread over blocks are those over all rows; the same rows come from a mapped file."""
    values = np.random.default_rng(0).normal(5, 3, size=(BLOCK + 1000, 2))
    values[::7, 0] = np.nan
    pq.write_table(
        pa.table({"a": values[:, 0], "b": values[:, 1] * 1e6}), tmp_path / "t.parquet", row_group_size=5000
    )
    source = opened(tmp_path / "t.parquet")
    assert source.columns[0].shift == pytest.approx(np.nanmean(values[:, 0]), rel=1e-12)
    assert source.columns[1].scale == pytest.approx(np.std(values[:, 1]) * 1e6, rel=1e-10)
    store = RowStore(2, in_memory=1000)
    for block in np.array_split(rows(source), 5):
        store.add(block)
    file = store._path
    assert file is not None and isinstance(store.values, np.memmap)
    np.testing.assert_array_equal(store.values, rows(source))
    del store
    assert not file.exists()


def test_limit_spreads_and_labels_and_groups_follow(tmp_path):
    text = "a,b,who,label\n" + "".join(f"{i},{i * i},p{i // 2},{['no', 'yes'][i % 2]}\n" for i in range(10))
    path = write(tmp_path, text)
    source = opened(path, labels=True, limit=4, group_column="who", scaling="none")
    assert rows(source)[:, 0].tolist() == [0, 2, 5, 7]
    assert source.labels.tolist() == [0, 0, 1, 1] and source.class_names == ("no", "yes")
    assert [source.group_names[g] for g in source.groups] == ["p0", "p1", "p2", "p3"]
    assert [c.name for c in source.columns] == ["a", "b"]
    assert source.identity(2) == "t.csv row 5"


def test_the_label_is_never_a_feature(tmp_path):
    path = write(tmp_path, "a,b,income\n1,2,3.5\n2,1,4.5\n3,5,1.5\n")
    assert dict(opened(path, label_column="income").report.left_out) == {"income": "the label"}
    measured = opened(path, labels=True, label_column="income").labels
    assert measured.tolist() == [3.5, 4.5, 1.5]
    careless = opened(path)
    with pytest.raises(DataError, match="'income' is a feature of the model"):
        opened(path, labels=True, label_column="income", columns=careless.columns)
    with pytest.raises(DataError, match="labels were asked for"):
        opened(path, labels=True)
    # In memory every column was meant to be there; in a file one called y was not.
    named = write(tmp_path, "a,b,y\n1,2,3\n2,1,4\n", "named.csv")
    assert [c.name for c in opened(named).columns] == ["a", "b"]
    frame = pa.table({"a": [1, 2], "y": [3, 5]})
    assert [c.name for c in TABLES.given(frame, TablesConfig()).columns] == ["a", "y"]


def test_kinds_can_be_chosen(tmp_path):
    path = write(tmp_path, "zip,a,b\n123,1,x\n456,2,7\n123,3,y\n,4,x\n")
    source = opened(path, categories=("zip",))
    assert source.columns[0].categories == ("123", "456")
    assert rows(source)[:3, 0].tolist() == [0, 1, 0] and np.isnan(rows(source)[3, 0])
    frame = pa.table({"zip": [123.0, 456.0, None], "a": [1, 2, 3]})
    assert TABLES.given(frame, TablesConfig(categories=("zip",))).columns[0].categories == ("123", "456")
    with pytest.raises(DataError, match="column 'b' holds numbers, but row 0 says 'x'"):
        opened(path, numbers=("b",))
    with pytest.raises(DataError, match="did you mean 'zip'"):
        opened(path, categories=("zipp",))


def test_times_are_numbers():
    days = pa.array(np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[D]"))
    source = TABLES.given(pa.table({"day": days, "a": [1, 5, 2]}), TablesConfig(scaling="none"))
    assert np.diff(rows(source)[:, 0]).tolist() == pytest.approx([86400, 86400], rel=1e-3)


@pytest.mark.parametrize(
    "text, said",
    [
        ("a,b,a\n1,2,3\n4,5,6\n", "several columns named 'a'"),
        ("a,b\n1,2\n", "1 row "),
        ("a,b\n", "0 rows"),
        ("a\n1\n2\n3\n", "at least 2 that vary"),
        ("a,b\n1,5\n2,5\n3,5\n", r"b: always 5"),
        ("a,b\n1,\n2,\n3,NA\n", "b: nothing but missing values"),
        ("a,b\n1,x\n2,x\n3,x\n", "b: always 'x'"),
        ("a,b\n1,2\n2,abc\n3,4\n4,5\n", "column 'b' holds numbers, but row 1 says 'abc'"),
        ("a,b\n1,2\n2,inf\n3,4\n", "column 'b' is infinite in row 1"),
        ("a,b\n1,1e308\n2,-1e308\n3,4\n", "too large"),
        ("", "empty"),
    ],
)  # fmt: skip
def test_bad_tables_are_named(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        opened(write(tmp_path, text))


def test_constant_and_empty_columns_are_left_out_and_told(tmp_path):
    source = opened(write(tmp_path, "a,same,b,empty\n1,7,2,\n2,7,1,\n3,7,5,NaN\n"))
    assert [c.name for c in source.columns] == ["a", "b"]
    assert "left out: same (always 7), empty (nothing but missing values)" in str(source.report)


def test_ten_thousand_categories_and_names_of_rows():
    many = pa.table({"c": [f"c{i % 10_000}" for i in range(20_000)], "a": np.arange(20_000)})
    column = TABLES.given(many, TablesConfig()).columns[0]
    assert column.cardinality == 1001 and column.other
    assert TABLES.given(many, TablesConfig(max_categories=10_000)).columns[0].cardinality == 10_000
    names = pa.table(
        {"id": [f"row {i}" for i in range(100_001)], "a": np.arange(100_001), "b": np.arange(100_001) % 7}
    )
    with pytest.raises(DataError, match="more than 100000 different texts"):
        TABLES.given(names, TablesConfig())
    assert len(TABLES.given(names, TablesConfig(ignore=("id",))).columns) == 2


@pytest.mark.parametrize(
    "given, said",
    [
        (np.zeros(3), "rows and columns"),
        (np.zeros((2, 2), dtype=complex), "complex"),
        ([[1, 2], [3]], "array"),
        (pa.table({"a": [[1], [2]], "b": [1, 2]}), "column 'a' holds list"),
        (np.array([[1, {}], [2, {}]], dtype=object), "struct"),
    ],
)
def test_what_is_no_table_is_named(given, said):
    with pytest.raises(DataError, match=said):
        TABLES.given(given, TablesConfig())


def test_duplicate_names_and_mixed_cells_of_a_frame():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="several columns named 'a'"):
        TABLES.given(pandas.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), TablesConfig())
    mixed = pandas.DataFrame({"a": [1, 2, 3, "four", 5], "b": [1.0, 2, 3, 4, 5]})
    with pytest.raises(DataError, match="column 'a' holds numbers, but row 3 says 'four'"):
        TABLES.given(mixed, TablesConfig())


def test_torn_lines_are_left_out_and_counted(tmp_path):
    lines = [f"{i},{i * i}" for i in range(40)]
    lines[7], lines[9] = "1,2,3", "4"
    source = opened(write(tmp_path, "a,b\n" + "\n".join(lines) + "\n"))
    assert len(source) == 38 and len(source.report.broken) == 2
    assert source.report.broken[0].reason == "3 cells instead of 2"
    assert source.report.looked_at == 40


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.parquet", b"PAR1 and no more", "not a whole parquet file"),
        ("a.npy", b"\x93NUMPY nonsense", "cannot read"),
        ("a.csv.gz", b"no gzip at all", "cannot read|not UTF-8"),
        ("a.csv", b"a,b\n1,\xff\xfe\n2,3\n", "UTF-?8|utf"),
        ("a.csv", b"\x00\x01\x02", "no text"),
        ("a.xlsx", b"PK", "no table by its name"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        opened(tmp_path / name)


def test_a_file_without_header(tmp_path):
    source = opened(write(tmp_path, "1,x,2\n3,y,1\n"), header=False)
    assert [c.name for c in source.columns] == ["x0", "x1", "x2"] and len(source) == 2


def test_quoted_cells_may_hold_anything(tmp_path):
    text = '"first, name",b\n"a ""quoted""\nline",1\nplain,2\n"a ""quoted""\nline",3\n'
    source = opened(write(tmp_path, text))
    assert source.columns[0].name == "first, name"
    assert source.columns[0].categories == ('a "quoted"\nline', "plain") and len(source) == 3


def test_the_features_are_plain_values_in_a_config(tmp_path):
    source = opened(write(tmp_path, SMALL))
    _, config = TABLES.settle(source, TablesConfig())
    again = from_dict(TablesConfig, to_dict(config))
    assert again == config and again.columns == source.columns
    with pytest.raises(ConfigError, match="names 3"):
        TABLES.suit(config, (1, 4))
    with pytest.raises(ConfigError, match="not rows"):
        TABLES.suit(config, (3, 8, 8))


def test_features_without_learning():
    x = torch.tensor([[[0.5, 1.0, float("nan")]], [[-1.0, float("nan"), 2.0]]])
    found = one_hot((0, 2, 0))(x)
    assert found.tolist() == [[0.5, 0, 0, 1, 0, 0, 1], [-1.0, 0, 0, 0, 1, 2, 0]]


def test_options_that_cannot_be_are_named():
    for options, said in (
        (dict(limit=0), "limit"),
        (dict(max_categories=0), "max_categories"),
        (dict(categories=("a",), numbers=("a",)), "keep one"),
        (dict(delimiter="::"), "one character"),
    ):
        with pytest.raises(ConfigError, match=said):
            TablesConfig(**options)


def test_adult():
    """Cardinalities of the sheet: 8 categorical columns, missing values as '?'."""
    import os

    path = Path(os.environ.get("ANYJEPA_DATA", "../shared/data")) / "tabular-adult" / "adult-train.csv.gz"
    if not path.exists():
        pytest.skip("Adult is not here: set ANYJEPA_DATA")
    source = opened(path, header=False, label_column="x14")
    cards = {int(c.name[1:]): c.cardinality for c in source.columns}
    assert len(source) == 32_561
    # The sheet counts '?' as a category in three columns (1, 6, 13); here it is a missing value.
    assert cards == {
        0: 0,
        1: 8,
        2: 0,
        3: 16,
        4: 0,
        5: 7,
        6: 14,
        7: 6,
        8: 5,
        9: 2,
        10: 0,
        11: 0,
        12: 0,
        13: 41,
    }
    assert dict(source.report.missing) == {"x1": 1836, "x6": 1843, "x13": 583}
    assert replace(source.config, columns=source.columns).columns is source.columns
    assert open_table(path, header=False).names == tuple(f"x{i}" for i in range(15))
