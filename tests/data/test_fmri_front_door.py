"""Brain scans through the command line: what is wrong with them is one sentence with the file's name; what is right is kept."""

import gzip

import numpy as np
import pytest

from anyjepa.cli import main
from anyjepa.config import to_dict
from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.fmri_modality import Fmri, clip_connectivity
from anyjepa.data.gradients import as_rows, diffusion_gradients, group_connectivity, write_gradients
from anyjepa.data.roi_scaling import RoiScaling
from anyjepa.data.subjects import is_number
from anyjepa.errors import ConfigError, DataError
from anyjepa.methods.brainjepa import BrainJEPAConfig
from anyjepa.training import RunConfig

TINY = "--size nano --model.dim 16 --model.depth 1 --model.heads 2 --model.predictor_width 8 --model.patch_size 4"
TINY += " --steps 2 --batch-size 4 --workers 0 --train.accelerator cpu"


def series(i, frames=40, rois=12):
    draws = np.random.default_rng(i)
    return (
        draws.standard_normal((frames, 3)) @ np.ones((3, rois)) + draws.standard_normal((frames, rois))
    ).astype("f4")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve scans of six people at two sites, in files of their own, and their table."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "scans"
    place.mkdir()
    lines = ["participant_id,site,age,sex,DX_GROUP"]
    for i in range(12):
        np.savetxt(place / f"sub-{i // 2}_run-{i % 2}.csv", series(i), delimiter=",")
    lines += [f"sub-{i},{'AB'[i % 2]},{20.5 + i},{'FM'[i % 2]},{['', 0, 1][i % 3]}" for i in range(6)]
    (tmp_path / "people.csv").write_text("\n".join(lines))
    return place


def told(capsys, *words):
    """What a command that fails says; one sentence."""
    capsys.readouterr()
    assert main(list(words)) == 2
    text = capsys.readouterr().err
    assert text.startswith("anyjepa: ") and "Traceback" not in text
    return text


def pretrain(folder, *words):
    return ["pretrain", "brainjepa", "--data", str(folder), "--out", "run", *TINY.split(), *words]


def test_torn_files_are_left_out_and_too_many_are_named(folder, capsys):
    (folder / "sub-3_run-1.csv").write_text("1,2,3\n4,5\n")
    assert main(pretrain(folder)) == 0
    shown = capsys.readouterr().out
    assert "11 scans" in shown and "1 scans were left out; the first: " in shown and "sub-3_run-1" in shown
    (folder / "sub-2_run-0.csv").write_text("")
    text = told(capsys, *pretrain(folder, "--overwrite"))
    assert "2 of 12 scans cannot be used, more than max_broken=10%" in text and "sub-2_run-0.csv" in text


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("torn.npz", b"PK\x03\x04 and no more", "torn.npz"),
        ("torn.npy", b"\x93NUMPY\x01\x00v\x00", "torn.npy"),
        ("empty.csv", b"", "the file is empty"),
        ("header.csv", b"a,b,c\n", "no frame"),
        ("words.csv", b"1,2,3\n4,five,6\n", "line 2"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, capsys, name, content, words):
    file = tmp_path / name
    file.write_bytes(content)
    text = told(capsys, *pretrain(file))
    assert words in text and name.split(".")[0] in text


def test_values_that_are_not_finite_are_counted(folder, capsys):
    values = series(0)
    values[3, 5] = np.inf
    np.savetxt(folder / "sub-0_run-0.csv", values, delimiter=",")
    assert main(["inspect", str(folder), "--kind", "fmri", "--read", "table=people.csv", "tr=2.0"]) == 0
    shown = capsys.readouterr().out
    assert "12 scans of 6 subjects from 2 sites: 12 regions, 40 to 40 frames, TR 2 s" in shown
    assert "1 regions of single scans miss values" in shown and "clips of 32 frames at 2 s" in shown


def test_regions_that_do_not_fit(folder, capsys):
    np.savetxt(folder / "sub-0_run-0.csv", series(0).T, delimiter=",")
    text = told(capsys, *pretrain(folder, "--fmri.max_broken", "0"))
    assert (
        "sub-0_run-0 has 40 regions and 12 frames, expected 12 regions; its rows look like regions: use roi_first"
        in text
    )
    assert "shorter than a clip of 64 frames" in told(capsys, *pretrain(folder, "--fmri.frames", "64"))


def test_tables_that_do_not_fit(folder, tmp_path, capsys):
    (tmp_path / "twice.csv").write_text("subject,age\nsub-0,3\nsub-0,4\n")
    assert "names subject 'sub-0' twice" in told(capsys, *pretrain(folder, "--fmri.table", "twice.csv"))
    (tmp_path / "others.csv").write_text("subject,age\nx9,3\n")
    assert "no scan is in others.csv" in told(capsys, *pretrain(folder, "--fmri.table", "others.csv"))
    assert "nowhere.csv" in told(capsys, *pretrain(folder, "--fmri.table", "nowhere.csv"))
    text = told(capsys, *pretrain(folder, "--fmri.table", "people.csv", "--fmri.sites", "[C]"))
    assert "no scan is from site 'C': " in text


def test_labels_are_chosen_by_their_column_and_nobody_is_on_both_sides(folder, capsys):
    assert main(pretrain(folder, "--fmri.table", "people.csv", "--fmri.gradients", "5")) == 0
    probe = ["probe", "run", "--data", str(folder), "--probes", "ridge"]
    assert "say which column of the table is the label" in told(capsys, *probe)
    assert "DX_GROUP" in told(capsys, *probe, "--read", "label_column=DX_GRUP")
    assert main([*probe, "--read", "label_column=age"]) == 0
    shown = capsys.readouterr().out
    assert "whole groups (persons, files)" in shown and "connectivity of the clip" in shown and "R2" in shown
    text = told(capsys, *probe, "--test", str(folder), "--read", "label_column=age")
    assert "6 groups (persons, files) are in the training and in the test data (sub-0, sub-1" in text
    text = told(capsys, *probe, "--read", "label_column=age", "group_by=site")
    assert "2 groups" in text and "give test data" in text


def test_scans_without_a_label_are_left_out(folder):
    config = FmriConfig(table="people.csv", label_column="DX_GROUP", frames=16)
    source = Fmri().open(folder, config, labels=True)
    assert (
        len(source) == 8 and source.labels.tolist() == [0, 0, 1, 1] * 2 and source.class_names == ("0", "1")
    )
    assert source.group_names == ("sub-1", "sub-2", "sub-4", "sub-5")
    assert Fmri().open(folder, FmriConfig(table="people.csv", group_by="site")).group_names == ("A", "B")
    assert len(Fmri().open(folder, FmriConfig(table="people.csv", sites=("B",)))) == 6
    assert len(Fmri().open(folder, FmriConfig(limit=3))) == 3
    # Scans of other sites are not even looked at: what is wrong with them is no matter.
    np.savetxt(folder / "sub-0_run-0.csv", series(0, frames=5), delimiter=",")
    config = FmriConfig(table="people.csv", sites=("B",), frames=32)
    assert Fmri().open(folder, config).scans.report.scans == 6
    with pytest.raises(DataError, match="1 of 12 scans are shorter"):
        Fmri().open(folder, FmriConfig(frames=32))


def test_gradients_and_statistics_come_from_the_training_scans_and_stay(folder, tmp_path):
    words = (
        "--fmri.table",
        "people.csv",
        "--fmri.sites",
        "[A]",
        "--fmri.gradients",
        "4",
        "--fmri.sparsity",
        "0.5",
    )
    assert main(pretrain(folder, *words, "--fmri.scaling.kind", "robust")) == 0
    config = RunConfig.load("run/config.yaml")
    mine = FmriSource.open(folder, FmriConfig(table="people.csv", sites=("A",)))
    table = diffusion_gradients(group_connectivity(mine.scans()), 4, sparsity=0.5)
    assert config.model.gradients == as_rows(table) and config.model.positions == "gradient"
    values = np.concatenate(list(mine.scans()), axis=1)
    np.testing.assert_allclose(config.reading.scaling.centre, np.median(values, axis=1), rtol=1e-5)
    assert config.reading.rois == 12 and config.reading.frames == 32
    # The people of the other site change neither.
    for i in (2, 3):
        np.savetxt(folder / f"sub-1_run-{i - 2}.csv", 100 * series(i), delimiter=",")
    assert main(["embed", "run", "--data", str(folder), "--out", "v.npy", "--read", "sites=[B]"]) == 0
    assert np.load("v.npy").shape == (6, 16)
    published = Fmri().published(config.reading)
    assert "table" not in published and "sites" not in published and published["scaling"]["kind"] == "robust"
    write_gradients(tmp_path / "g.csv", table)
    assert main(pretrain(folder, "--overwrite", "--fmri.gradients_from", "g.csv")) == 0
    assert RunConfig.load("run/config.yaml").model.gradients == as_rows(table)


def test_a_run_without_gradients(folder):
    assert main(pretrain(folder, "--fmri.gradients", "0")) == 0
    assert RunConfig.load("run/config.yaml").model.positions == "index"
    assert main(pretrain(folder, "--overwrite", "--model.positions", "index")) == 0
    assert RunConfig.load("run/config.yaml").model.gradients is None


def test_images_need_an_atlas_by_its_option(tmp_path, capsys):
    with gzip.open(tmp_path / "bold.nii.gz", "wb") as file:
        file.write(b"not an image")
    assert "--fmri.atlas FILE" in told(capsys, *pretrain(tmp_path))


def test_a_table_of_a_bids_data_set_is_found(folder):
    (folder / "participants.tsv").write_text(
        "participant_id\tage\n" + "".join(f"sub-{i}\t{30 + i}\n" for i in range(6))
    )
    source = FmriSource.open(folder)
    assert len(source) == 12 and source.numbers("age").tolist() == [30 + i // 2 for i in range(12)]


def test_weights_are_gone_on_with_on_the_same_atlas_alone(folder, tmp_path, capsys):
    assert main(pretrain(folder, "--fmri.scaling.kind", "scan", "--fmri.gradients", "3")) == 0
    more = tmp_path / "more"
    more.mkdir()
    for i in range(8):
        np.save(more / f"x{i}.npy", series(50 + i))
    words = ["pretrain", "brainjepa", "--data", str(more), "--init", "run", "--out", "on", "--steps", "1"]
    words += ["--batch-size", "4", "--workers", "0"]
    assert main(words) == 0
    before, after = RunConfig.load("run/config.yaml"), RunConfig.load("on/config.yaml")
    assert after.model.gradients == before.model.gradients, "the weights know the regions by these"
    assert after.reading.scaling == RoiScaling("scan")
    for i in range(8):
        np.save(more / f"x{i}.npy", series(i, rois=9))
    assert "the weights are for 12 regions, the scans have 9" in told(capsys, *words, "--overwrite")


def test_arrays_of_a_python_caller():
    kind = Fmri()
    source = kind.given(np.stack([series(i) for i in range(4)]), FmriConfig(tr=2.0))
    assert len(source) == 4 and source.scans.config.clip == 32
    uneven = kind.given([series(i, frames=30 + i) for i in range(4)], FmriConfig(frames=16))
    clips = kind.dataset(uneven, uneven.scans.config).evaluation([0, 3])
    assert clips.shape == (2, 1, 12, 16)
    raw = clip_connectivity(clips)
    r = np.corrcoef(clips[1, 0])[np.triu_indices(12, 1)]
    np.testing.assert_allclose(raw[1].tanh(), r, atol=1e-4)
    with pytest.raises(DataError, match="scan 0 must be a table of numbers"):
        kind.given([np.ones(3)], FmriConfig())
    with pytest.raises(ConfigError, match=r"fmri.frames=16, but the model expects 32"):
        kind.suit(FmriConfig(frames=16), (1, 12, 32))
    with pytest.raises(ConfigError, match="not clips"):
        kind.suit(FmriConfig(), (3, 32, 32))
    assert to_dict(kind.suit(FmriConfig(), (1, 12, 32)))["rois"] == 12
    assert kind.place(BrainJEPAConfig(positions="index"), source, FmriConfig()).gradients is None


@pytest.mark.parametrize(
    "cells, number",
    [
        (["1", "2", "1", "2", None], False),
        (["20", "25", "30", "35"], True),
        ([str(20 + i % 15) for i in range(90)], True),
        (["1.5", "1.5", "2"], True),
        (["1.0", "2.0", "1.0", "2.0"], False),
        (["F", "M", "F"], False),
    ],
)
def test_which_columns_are_values(cells, number):
    assert is_number(cells) == number


def test_images_and_an_atlas(tmp_path, monkeypatch, capsys):
    """The TR is that of the header, the table is that of the BIDS data set, and regions without a voxel stay."""
    nibabel = pytest.importorskip("nibabel", reason="nibabel is the extra 'fmri'")
    pytest.importorskip("nilearn", reason="nilearn is the extra 'fmri'")
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    labels = np.repeat(np.arange(1, 9), 8).reshape(4, 4, 4).astype("i2")
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), "atlas.nii.gz")
    (tmp_path / "bids").mkdir()
    for i in range(4):
        values = draws.standard_normal((4, 4, 4, 45)).astype("f4") + draws.standard_normal(45)
        image = nibabel.Nifti1Image(values.astype("f4"), np.eye(4))
        image.header.set_zooms((1, 1, 1, 2.5))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, f"bids/sub-{i}_task-rest_bold.nii.gz")
    (tmp_path / "bids/participants.tsv").write_text(
        "participant_id\tage\n" + "".join(f"sub-{i}\t{20.5 + i}\n" for i in range(4))
    )
    assert main(pretrain(tmp_path / "bids", "--fmri.atlas", "atlas.nii.gz")) == 0
    assert "4 scans of 4 subjects: 8 regions, 45 to 45 frames, TR 2.5 s" in capsys.readouterr().out
    assert main(["embed", "run", "--data", "bids", "--out", "v.npy"]) == 0
    assert np.load("v.npy").shape == (4, 16)
    (tmp_path / "bids/sub-3_task-rest_bold.nii.gz").write_bytes(b"torn")
    assert "sub-3_task-rest_bold.nii.gz" in told(
        capsys, *pretrain(tmp_path / "bids", "--fmri.atlas", "atlas.nii.gz", "--overwrite")
    )
