"""Recordings of every origin as tensors; broken files are named or counted."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from anyjepa.data.ecg import EcgConfig, open_ecg
from anyjepa.data.ecg_leads import STANDARD_LEADS
from anyjepa.data.wfdb_header import read_header
from anyjepa.errors import ConfigError, DataError

LEADS = ("I", "II", "V1")


def write_wfdb(folder: Path, name: str, signal: np.ndarray, *, first="{name} {c} 500 {t}", dx="", **changes):
    """A record of format 16 with 1000 steps per mV; ``changes`` replaces parts of the signal lines."""
    folder.mkdir(parents=True, exist_ok=True)
    c, t = signal.shape
    np.round(signal.T * 1000).astype("<i2").tofile(folder / f"{name}.dat")
    lines = [first.format(name=name, c=c, t=t)]
    parts = {"gain": "1000/mV", "leads": STANDARD_LEADS[:c]} | changes
    lines += [f"{name}.dat 16 {parts['gain']} 16 0 0 0 0 {lead}" for lead in parts["leads"]]
    (folder / f"{name}.hea").write_text(
        "\n".join([*lines, "# Age: 60", *([f"#Dx: {dx}"] if dx else [])]) + "\n"
    )


def beats(c=3, t=1000, seed=0):
    return np.round(np.random.default_rng(seed).normal(size=(c, t)), 3)


class TestWfdb:
    @pytest.fixture(autouse=True)
    def _wfdb(self):
        pytest.importorskip("wfdb", reason="the reader of WFDB records: anyjepa[ecg]")

    def test_values_labels_and_patients(self, tmp_path):
        for number, dx in enumerate(["10,20", "20", ""]):
            folder = tmp_path / f"deep/patient00{min(number, 1)}"
            write_wfdb(folder, f"r{number}", beats(seed=number), dx=dx)
        records = open_ecg(tmp_path, EcgConfig(leads=("I", "II")))
        assert len(records) == 3 and records.skipped == () and records.rate == 500
        for number in range(3):
            x = records.read(number)
            assert x.dtype == torch.float32 and x.shape == (2, 1000)
            np.testing.assert_allclose(x, beats(seed=number)[:2], atol=1e-6)
        assert records.label_names == ("10", "20")
        assert records.labels.tolist() == [[True, True], [False, True], [False, False]]
        assert records.groups.tolist() == [0, 1, 1] and records.folds.tolist() == [-1] * 3
        assert "r1" in records.identity(1)
        again = pickle.loads(pickle.dumps(records))
        assert torch.equal(again.read(2), records.read(2))

    @pytest.mark.parametrize("first", ["{name} {c} 500 {t} 05-May-2020 09:49:17", "{name}.mat {c} 500/1 {t} 12:00:00",
                                       "{name} {c} 500.0 {t} 99/99/2020"])  # fmt: skip
    def test_first_lines_that_break_the_format(self, tmp_path, first):
        write_wfdb(tmp_path, "a", beats(), first=first)
        np.testing.assert_allclose(
            open_ecg(tmp_path, EcgConfig(leads=LEADS[:2])).read(0), beats()[:2], atol=1e-6
        )

    @pytest.mark.parametrize(
        "gain, factor", [("1000/uV", 1e-3), ("1000/mv", 1), ("500/mV", 2), ("1000(500)/mV", None)]
    )
    def test_gain_baseline_and_unit(self, tmp_path, gain, factor):
        write_wfdb(tmp_path, "a", beats(), gain=gain)
        x = open_ecg(tmp_path, EcgConfig(leads=("II",))).read(0)[0]
        np.testing.assert_allclose(x, beats()[1] - 0.5 if factor is None else beats()[1] * factor, atol=1e-5)

    def test_broken_records_are_counted_and_named(self, tmp_path):
        write_wfdb(tmp_path, "good", beats())
        write_wfdb(tmp_path, "short", beats(t=100))
        write_wfdb(tmp_path, "torn", beats())
        (tmp_path / "torn.dat").write_bytes((tmp_path / "torn.dat").read_bytes()[:-2])
        write_wfdb(tmp_path, "alone", beats())
        (tmp_path / "alone.dat").unlink()
        write_wfdb(tmp_path, "empty", beats(), first="{name} {c} 500 0")
        write_wfdb(tmp_path, "less", beats(), first="{name} 5 500 {t}")
        write_wfdb(tmp_path, "away", beats())
        (tmp_path / "away.hea").write_text(
            (tmp_path / "away.hea").read_text().replace("away.dat", "../away.dat")
        )
        (tmp_path / "words.hea").write_text("this is no header\n")
        (tmp_path / "blank.hea").write_text("")
        records = open_ecg(tmp_path, EcgConfig(leads=LEADS[:2], min_seconds=1))
        assert len(records) == 1 and records.identity(0) == "good"
        said = "\n".join(records.skipped)
        for name, reason in {
            "torn": "5998 bytes where the header promises 6000", "alone": "alone.dat is not there", "empty": "no samples",
            "less": "promises 5 signals, 3 are described", "away": "lies beside its header", "words": "not a WFDB header",
            "blank": "got nothing", "short": "shorter than 1 s",
        }.items():  # fmt: skip
            assert any(name in text and reason in text for text in records.skipped), (name, said)
        with pytest.raises(DataError, match=r"8 such recordings.*on_broken=skip"):
            open_ecg(tmp_path, EcgConfig(min_seconds=1, on_broken="refuse"))

    def test_nothing_usable_says_why(self, tmp_path):
        write_wfdb(tmp_path, "alone", beats())
        (tmp_path / "alone.dat").unlink()
        with pytest.raises(DataError, match=r"no recording that can be used; the first of 1.*alone"):
            open_ecg(tmp_path)

    def test_errors_while_reading_name_the_file(self, tmp_path):
        write_wfdb(tmp_path, "unit", beats(), gain="1000/mmHg")
        write_wfdb(tmp_path, "names", beats(), leads=("RESP", "ABP", "x"))
        write_wfdb(tmp_path, "twice", beats(), leads=("II", "V1", "ii"))
        records = open_ecg(tmp_path)
        for row, message in enumerate(
            ["names.*none of the leads", "twice.*lead II is there twice", "unit.*'mmHg'"]
        ):
            with pytest.raises(DataError, match=message):
                records.read(row)
        with pytest.raises(DataError, match="names"):
            records.crop(0, 10, seed=0, step=0)

    def test_ptb_xl(self, tmp_path):
        for number in range(3):
            write_wfdb(tmp_path / "records500/00000", f"0000{number}_hr", beats(seed=number))
        write_wfdb(tmp_path / "records100/00000", "00000_lr", beats(t=200), first="{name} {c} 100 {t}")
        rows = ["ecg_id,patient_id,scp_codes,strat_fold,filename_lr,filename_hr"]
        codes = ["{'NORM': 100.0, 'SR': 0.0}", "{'IMI': 0.0, 'ASMI': 80.0}", "{'LVH': 50.0}"]
        for number, code in enumerate(codes):
            rows.append(
                f'{number},{15709.0 if number else 7.0},"{code}",{number + 8},records100/00000/0000{number}_lr,'
                f"records500/00000/0000{number}_hr"
            )
        (tmp_path / "ptbxl_database.csv").write_text("\n".join(rows) + "\n")
        (tmp_path / "scp_statements.csv").write_text(
            ",description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\n"
            "NORM,normal,1.0,,,NORM,NORM\nIMI,x,1.0,,,MI,IMI\nASMI,x,1.0,,,MI,AMI\nLVH,x,1.0,,,HYP,LVH\nSR,x,,,1.0,,\nABQRS,x,,1.0,,,\n"
        )
        records = open_ecg(tmp_path, EcgConfig(leads=LEADS[:2], task="superdiagnostic"))
        assert records.label_names == ("HYP", "MI", "NORM")
        assert records.labels.tolist() == [[False, False, True], [False, True, False], [True, False, False]]
        assert records.groups.tolist() == [1, 0, 0] and records.folds.tolist() == [8, 9, 10]
        np.testing.assert_allclose(records.read(2), beats(seed=2)[:2], atol=1e-6)
        for task, names in {
            "all": ("ASMI", "IMI", "LVH", "NORM", "SR"), "diagnostic": ("ASMI", "IMI", "LVH", "NORM"),
            "subdiagnostic": ("AMI", "IMI", "LVH", "NORM"), "rhythm": ("SR",), "form": (),
        }.items():  # fmt: skip
            assert open_ecg(tmp_path, EcgConfig(task=task)).label_names == names
        slow = open_ecg(tmp_path, EcgConfig(leads=("I",), rate=100))
        assert len(slow) == 1 and slow.read(0).shape == (1, 200) and len(slow.skipped) == 2
        with pytest.raises(ConfigError, match="did you mean 'superdiagnostic'"):
            open_ecg(tmp_path, EcgConfig(task="superdiagnostics"))
        (tmp_path / "ptbxl_database.csv").write_text("ecg_id,patient_id\n1,2\n")
        with pytest.raises(DataError, match="lacks the columns scp_codes, strat_fold, filename_hr"):
            open_ecg(tmp_path)

    def test_records_of_the_physionet_challenge(self, require_data):
        folder = require_data("ecg-12lead")
        records = open_ecg(folder, EcgConfig(min_seconds=10))
        assert len(records) == 116 and not records.skipped and "426783006" in records.label_names
        column = records.label_names.index("426783006")
        assert int(records.labels[:, column].sum()) == 39, "sinus rhythms, as its README says"
        x, found = records.examine(next(i for i in range(116) if records.identity(i).endswith("E00271")))
        assert x.shape[0] == 12 and torch.isfinite(x).all() and not found.missing
        # Einthoven and Goldberger hold to the resolution of the file
        i, ii, iii, avr, avl, avf = x[:6]
        for lead, wanted in ((iii, ii - i), (avr, -(i + ii) / 2), (avl, i - ii / 2), (avf, ii - i / 2)):
            assert (lead - wanted).abs().max() < 0.01
        header = read_header(folder / "records/E00271.hea")
        assert header.patched and header.comment("dx")

    def test_two_leads_of_another_rate(self, require_data):
        records = open_ecg(require_data("ecg-mitbih"), EcgConfig(leads=("II", "V1", "V5")))
        assert len(records) == 5 and len(set(records.groups)) == 5
        x, found = records.examine(0)
        assert x.shape == (3, int(650_000 * 500 / 360)) and found.missing == ("V5",) and not x[2].any()

    def test_lower_case_leads_and_gains_of_each_lead(self, require_data, tmp_path):
        with zipfile.ZipFile(require_data("ecg-ludb") / "records.zip") as archive:
            for name in ("3.hea", "3.dat", "6.hea", "6.dat"):
                archive.extract(name, tmp_path)
        records = open_ecg(tmp_path)
        x = records.read(0)
        assert len(records) == 2 and x.shape == (12, 5000)
        # Einthoven: the gains and baselines of three leads fit together
        together = torch.corrcoef(torch.stack([x[2], x[1] - x[0]]))[0, 1]
        assert together > 0.9 and (x[2] - (x[1] - x[0])).abs().mean() < 0.05 and 0.02 < float(x[1].std()) < 1


def test_arrays_of_any_order_of_axes(tmp_path):
    x = beats(c=3 * 4).reshape(4, 3, 1000)
    np.save(tmp_path / "a.npy", x.transpose(0, 2, 1))
    np.savez(
        tmp_path / "b.npz",
        signals=x, leads=["ii", "AVR", "I"], rate=250, labels=[[1, 0], [0, 0], [1, 1], [0, 1]], patient_id=[5, 5, 6, 7],
    )  # fmt: skip
    plain = open_ecg(tmp_path / "a.npy", EcgConfig(leads=LEADS, file_rate=500))
    assert len(plain) == 4 and plain.labels is None
    np.testing.assert_allclose(plain.read(3), x[3], atol=1e-6)
    named = open_ecg(tmp_path / "b.npz", EcgConfig(leads=("I", "II", "aVL"), rate=250))
    got, found = named.examine(1)
    np.testing.assert_allclose(got, [x[1, 2], x[1, 0], x[1, 2] - x[1, 0] / 2], atol=1e-6)
    assert found.derived == ("aVL",)
    assert named.labels.tolist() == [[True, False], [False, False], [True, True], [False, True]]
    assert named.groups.tolist() == [0, 0, 1, 2]
    assert named.read(0).shape[1] == 1000 and open_ecg(tmp_path / "b.npz").read(0).shape == (12, 2000)


def test_csv_and_parquet(tmp_path):
    x, time = beats(), np.arange(1000) / 250
    (tmp_path / "files").mkdir()
    for name, columns in (("a", {"time": time}), ("b", {})):
        table = {**columns, "I": x[0], "II": x[1], "note": ["x"] * 1000, "v1": x[2]}
        pa.csv.write_csv(pa.table(table), tmp_path / f"files/{name}.csv")
    config = EcgConfig(leads=LEADS, rate=250)
    records = open_ecg(tmp_path / "files", config)
    np.testing.assert_allclose(records.read(0), x, atol=1e-6)
    with pytest.raises(ConfigError, match=r"b\.csv does not say its sampling rate"):
        records.read(1)
    rows = {"I": [x[0], x[0][:500]], "II": [x[1], x[1][:500]], "V1": [x[2], x[2][:499]], "fs": [250, 250],
            "labels": [["AF", "LBBB"], []], "patient_id": [3, 3]}  # fmt: skip
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    table = open_ecg(tmp_path / "rows.parquet", config)
    np.testing.assert_allclose(table.read(0), x, atol=1e-6)
    assert table.label_names == ("AF", "LBBB") and table.groups.tolist() == [0, 0]
    with pytest.raises(DataError, match=r"row 1: its leads have \[499, 500\] samples"):
        table.read(1)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.npy", b"nothing", "cannot read"),
        ("a.npy", np.zeros((3, 4, 5)), "no axis of it has the 12 leads"),
        ("a.npy", np.zeros((0, 12, 5)), "expected numbers"),
        ("a.npy", np.array([["x"]]), "expected numbers"),
        ("a.csv", b"p,q\n1,2\n", "no column named after a lead"),
        ("a.csv", b"I,II\n", "no samples"),
        ("a.csv", b"I,II\n1,x\n", "does not hold numbers"),
        ("a.csv", b"time,I\n0,1\n0,2\n5,3\n", "equal steps"),
        ("a.parquet", b"PAR1", "cannot read"),
        ("a.hea", b"a 1 500 10\n", "give the folder around it"),
        ("folder", None, "holds no recordings"),
        ("absent", None, "does not exist"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    elif name == "folder":
        path.mkdir()
    with pytest.raises(DataError, match=message) as caught:
        open_ecg(path, EcgConfig(file_rate=500.0)).read(0)
    assert name in str(caught.value)


def test_scaling_by_the_training_recordings(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 3, 400)) * np.array([1, 2, 4])[:, None] + 1
    x[5] *= 100
    x[2, 1] = 7.0
    np.save(tmp_path / "a.npy", x)
    records = open_ecg(tmp_path / "a.npy", EcgConfig(leads=LEADS, file_rate=500))
    scaled = records.normalised(range(5))
    kept = [x[[0, 1, 3, 4], 1] if lead == 1 else x[:5, lead] for lead in range(3)]
    np.testing.assert_allclose(scaled.config.mean, [v.mean() for v in kept], rtol=1e-5)
    np.testing.assert_allclose(scaled.config.std, [v.std() for v in kept], rtol=1e-5)
    assert scaled.read(0).abs().max() < 5 and float(scaled.read(5).abs().max()) == 5.0
    assert not scaled.read(2)[1].any(), "a flat lead is silent, not at -mean / std"
    official = EcgConfig(leads=("V6", "I")).of_database("ptb-xl")
    assert official.std == (0.242, 0.191)


def test_a_lead_that_nobody_has(tmp_path):
    np.save(tmp_path / "a.npy", beats().reshape(1, 3, 1000))
    config = EcgConfig(leads=(*LEADS, "V6"), file_leads=LEADS, file_rate=500)
    records = open_ecg(tmp_path / "a.npy", config)
    assert records.examine(0)[1].missing == ("V6",)
    with pytest.raises(DataError, match="no recording has the leads V6"):
        records.normalised()
    strict = open_ecg(
        tmp_path / "a.npy", EcgConfig(leads=config.leads, file_leads=LEADS, file_rate=500, on_missing="skip")
    )
    with pytest.raises(DataError, match="lacks the leads V6; on_missing=zero"):
        strict.read(0)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(leads=("I", "V7")), "unknown lead 'V7'"),
        (dict(leads=("I", "I")), "leads must be different"),
        (dict(leads=()), "at least one"),
        (dict(rate=0.0), "rate must be above 0"),
        (dict(std=(1.0,)), "std needs one value for each of 12 leads, got 1"),
        (dict(leads=("I",), std=(0.0,)), "std must be above 0"),
    ],
)
def test_impossible_settings_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        EcgConfig(**fields)
    with pytest.raises(ConfigError, match="unknown database 'ptbxl': did you mean 'ptb-xl'"):
        EcgConfig().of_database("ptbxl")


def test_the_filter_of_code_15(tmp_path):
    """Recordings filled up with zeros to 10.24 s at 400 Hz are left out; zeros in the middle do not matter."""
    x = np.random.default_rng(0).normal(size=(4, 12, 4096)) + 3
    x[1, :, :500] = 0
    x[2, 4, -1:] = 0
    x[3, :, 1000:1100] = 0
    np.save(tmp_path / "a.npy", x)
    config = EcgConfig(file_rate=400, on_padded="skip")
    records = open_ecg(tmp_path / "a.npy", config)
    assert records.read(0).shape == records.read(3).shape == (12, 5120)
    with pytest.raises(DataError, match=r"row 1 begins or ends with zeros in I, II, .*on_padded=keep"):
        records.read(1)
    with pytest.raises(DataError, match="zeros in aVL;"):
        records.read(2)
    assert open_ecg(tmp_path / "a.npy", EcgConfig(file_rate=400)).read(1).shape == (12, 5120)
