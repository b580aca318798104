"""The reader of brain scans: every format, every defect, subjects and labels; the ABIDE data where they are."""

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.roi_files import find_series, read_series
from anyjepa.data.roi_scaling import fit_scaling
from anyjepa.data.subjects import read_subjects, subject_of
from anyjepa.errors import ConfigError, DataError, MissingExtraError

ROIS = 6


def series(frames=40, rois=ROIS, seed=0):
    return np.random.default_rng(seed).standard_normal((frames, rois)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Five scans as .npy, (frames, regions), and their table."""
    place = tmp_path / "scans"
    place.mkdir()
    for i in range(5):
        np.save(place / f"sub-0{i}_task-rest.npy", series(40 + i, seed=i))
    (tmp_path / "people.tsv").write_text(
        "participant_id\tsite\tage\tsex\tgroup\n"
        + "".join(
            f"sub-0{i}\t{'AB'[i % 2]}\t{20 + i}\t{'MF'[i % 2]}\t{'n/a' if i == 4 else i % 2}\n"
            for i in range(5)
        )
    )
    return tmp_path


SHORT = FmriConfig(frames=32)


def opened(folder, **fields):
    config = FmriConfig(**({"frames": 32} | fields))
    return FmriSource.open(folder / "scans", config, table=folder / "people.tsv")


def test_scans_subjects_and_labels(folder):
    source = opened(folder)
    assert len(source) == 5 and source.rois == ROIS and source.identity(2) == "sub-02_task-rest"
    assert source.subjects == tuple(f"sub-0{i}" for i in range(5)) and source.sites == (
        "A",
        "B",
        "A",
        "B",
        "A",
    )
    assert source.numbers("age").tolist() == [20, 21, 22, 23, 24]
    sex, names = source.classes("sex")
    assert names == ("F", "M") and sex.tolist() == [1, 0, 1, 0, 1]
    assert source.classes("diagnosis")[0].tolist() == [0, 1, 0, 1, -1]
    np.testing.assert_array_equal(source.read(3), series(43, seed=3).T)
    assert "5 scans of 5 subjects from 2 sites: 6 regions, 40 to 44 frames, TR unknown" in str(source.report)
    with pytest.raises(DataError, match="no column 'weight'"):
        source.numbers("weight")


def test_every_format_holds_the_same_scan(tmp_path):
    x = series()
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", one=x)
    np.savez(tmp_path / "c.npz", many=x[None])
    np.save(tmp_path / "d.npy", x[None])
    head = ",".join(f"roi{i}" for i in range(ROIS))
    np.savetxt(tmp_path / "e.csv", x, delimiter=",", header=head, comments="", fmt="%.9g")
    np.savetxt(tmp_path / "f.tsv", x, delimiter="\t", fmt="%.9g")
    np.savetxt(tmp_path / "g.1D", x, header="comment of a tool", fmt="%.9g")
    rows = "\n".join(f"{i}," + ",".join(f"{v:.9g}" for v in row) for i, row in enumerate(x))
    (tmp_path / "h.csv").write_text("," + head + "\n" + rows + "\n")
    found = find_series(tmp_path)
    assert [s.name for s in found] == ["a", "one", "c[0]", "d[0]", "e", "f", "g", "h"]
    for one in found:
        read = read_series(one)
        np.testing.assert_allclose(read.values, x.T, rtol=1e-6)
        assert read.names == (tuple(head.split(",")) if one.name in "eh" else None)
    np.save(tmp_path / "a.npy", x.T)
    np.testing.assert_array_equal(read_series(found[0], roi_first=True).values, x.T)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(2, 8), st.sampled_from([",", "\t", " "]), st.booleans())
def test_a_text_table_of_any_size_comes_back(tmp_path_factory, frames, rois, mark, header):
    x = series(frames, rois, seed=frames * rois)
    file = tmp_path_factory.mktemp("text") / {",": "x.csv", "\t": "x.tsv", " ": "x.1D"}[mark]
    lines = [mark.join(f"{v:.9g}" for v in row) for row in x]
    file.write_text("\n".join(([mark.join(f"r{i}" for i in range(rois))] if header else []) + lines))
    np.testing.assert_allclose(read_series(find_series(file)[0]).values, x.T, rtol=1e-6)


def test_missing_cells_are_counted_and_become_zero(tmp_path):
    x = series()
    text = "\n".join("\t".join(f"{v:.6g}" for v in row) for row in x).split("\t")
    text[3] = "n/a"
    (tmp_path / "a.tsv").write_text("\t".join(text))
    flat = series(seed=1)
    flat[:, 2] = 3.0
    flat[:, 4] = np.nan
    np.save(tmp_path / "b.npy", flat)
    source = FmriSource.open(tmp_path, SHORT)
    assert source.report.missing == 2 and source.report.flat == 1
    assert "1 regions of single scans do not vary" in str(source.report)
    values, _ = source.clip(1)
    assert not values[2].any() and not values[4].any() and torch.isfinite(values).all()


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda f: np.save(f / "x.npy", series(rois=5)), "5 regions and 40 frames, expected 6"),
        (lambda f: np.save(f / "x.npy", series().T.copy()), "use roi_first"),
        (lambda f: np.save(f / "x.npy", series(0)), "no frame"),
        (lambda f: np.save(f / "x.npy", np.full((40, ROIS), np.nan)), "holds no value"),
        (lambda f: (f / "x.csv").write_text(""), "the file is empty"),
        (lambda f: (f / "x.csv").write_text("1,2,3,4,5,6\n1,2,3\n"), "data line 2 has 3 cells"),
        (lambda f: (f / "x.csv").write_text("1,2,3,4,5,6\n1,2,3,4,5,six\n"), "or a word"),
        (lambda f: np.save(f / "x.npy", np.zeros((40, ROIS), dtype=complex)), "not a table of numbers"),
    ],
)
def test_a_broken_scan_is_named_or_counted(folder, write, message):
    write(folder / "scans")
    with pytest.raises(DataError, match=message) as error:
        opened(folder)
    assert "1 of 6 scans cannot be used" in str(error.value) and "x" in str(error.value)
    source = opened(folder, max_broken=0.5)
    assert (
        len(source) == 5 and len(source.report.broken) == 1 and "1 scans were left out" in str(source.report)
    )
    assert source.numbers("age").tolist() == [20, 21, 22, 23, 24]


def test_files_that_are_torn_or_hold_objects(tmp_path):
    np.savez(tmp_path / "a.npz", x=series())
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    with pytest.raises(DataError, match="cannot read"):
        FmriSource.open(tmp_path)
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="objects, which are not read"):
        FmriSource.open(tmp_path)
    (tmp_path / "a.npz").unlink()
    with pytest.raises(DataError, match="holds no scans"):
        FmriSource.open(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        FmriSource.open(tmp_path / "none")


def test_short_scans(folder):
    np.save(folder / "scans" / "sub-09_task-rest.npy", series(10))
    with pytest.raises(
        DataError, match=r"1 of 6 scans are shorter than a clip of 32 frames .* use frames=10 or less"
    ):
        opened(folder)
    dropped = opened(folder, short="drop")
    assert len(dropped) == 5 and dropped.report.short == 1
    padded = opened(folder, short="pad")
    values, valid = padded.clip(5)
    assert len(padded) == 6 and valid.tolist() == [True] * 10 + [False] * 22 and not values[:, 10:].any()
    assert padded.report.unmatched == 1 and np.isnan(padded.numbers("age")[5])
    with pytest.raises(DataError, match="none of 6 scans can be used"):
        opened(folder, short="drop", frames=999)


def test_repetition_times(folder):
    (folder / "scans" / "sub-00_task-rest.json").write_text(json.dumps({"RepetitionTime": 1.0}))
    source = opened(folder, frames=16)
    assert source.tr(0) == 1.0 and source.tr(1) is None
    # Every second frame of the scan at 1 s, the middle 31 of 40.
    scaled = source.config.scaling.apply(source.read(0))
    np.testing.assert_allclose(source.clip(0, 0.0)[0].numpy(), scaled[:, 0:31:2], atol=1e-6)
    assert opened(folder, frames=16, tr=2.0).tr(0) == 2.0
    lines = (folder / "people.tsv").read_text().splitlines()
    rest = "".join(f"{line}\t4.0\n" for line in lines[1:])
    (folder / "people.tsv").write_text(lines[0] + "\ttr\n" + rest)
    assert opened(folder, frames=16).tr(0) == 4.0


def test_batches_are_pure_and_of_the_method_s_shape(folder):
    source = opened(folder, frames=16)
    index = torch.tensor([3, 0, 4])
    batch = source.batch(index, seed=1, step=5)
    assert batch.shape == (3, 1, ROIS, 16) and batch.dtype == torch.float32
    assert torch.equal(batch, source.batch(index, seed=1, step=5))
    assert torch.equal(batch[1:2], source.batch(index[1:2], seed=1, step=5))
    assert not torch.equal(batch, source.batch(index, seed=1, step=6))
    still = source.batch(index, random=False)
    assert torch.equal(still, source.batch(index, random=False, step=9))
    assert torch.equal(copy.deepcopy(source).batch(index, seed=1, step=5), batch)


def test_another_scaling(folder):
    source = opened(folder)
    scaled = source.with_scaling(fit_scaling("robust", source.scans([0, 1, 2])))
    assert scaled.config.scaling.kind == "robust" and scaled.subjects == source.subjects
    assert not torch.equal(scaled.clip(0)[0], source.clip(0)[0])


@pytest.mark.parametrize(
    "scans, ids",
    [
        (["sub-01_ses-1_task-rest", "sub-02"], ["sub-01", "sub-02"]),
        (["0050003", "50004"], ["50003", "50004"]),
        (["Pitt_0050003_rois_aal", "Pitt_0050004_rois_aal"], ["50003", "50004"]),
        (["S1[0]", "S1[1]"], ["S1[0]", "S1[1]"]),
    ],
)
def test_scans_find_their_line(tmp_path, scans, ids):
    (tmp_path / "t.csv").write_text(
        "SUB_ID,AGE_AT_SCAN\n" + "".join(f"{name},{7 + i}\n" for i, name in enumerate(ids))
    )
    assert read_subjects(tmp_path / "t.csv", scans).numbers("age").tolist() == [7, 8]


def test_tables_that_do_not_fit(tmp_path):
    file = tmp_path / "t.csv"
    for text, message in [
        ("", "needs a header"),
        ("age\n3\n", "no column of subjects"),
        ("id,age\n1,3\n1,4\n", "names subject '1' twice"),
        ("id,age\n1,3,9\n", "line 2 has 3 cells, its header 2"),
        ("id,age\nx7,3\n", "no scan is in .* named like 'a', the table like 'x7'"),
    ]:
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            read_subjects(file, ["a", "b"])
    file.write_text("id,age\na,3\nb,old\n")
    table = read_subjects(file, ["a", "b"])
    with pytest.raises(DataError, match="column 'age'"):
        table.numbers("age")
    with pytest.raises(DataError, match="cannot read the table"):
        read_subjects(tmp_path / "none.csv", ["a"])
    assert subject_of("sub-A12_ses-2_bold") == "sub-A12" and subject_of("50003") == "50003"


def test_impossible_settings():
    with pytest.raises(ConfigError, match="frames must be above 0"):
        FmriConfig(frames=0)
    with pytest.raises(ConfigError, match="target_tr"):
        FmriConfig(target_tr=-1.0)


# NIfTI


@pytest.fixture
def brain(tmp_path):
    """Two 4-D images of 8 x 8 x 6 voxels in which region k carries k + wave, and an atlas of twice the resolution."""
    nibabel = pytest.importorskip("nibabel", reason="nibabel is in the extra 'fmri'")
    pytest.importorskip("nilearn", reason="nilearn is in the extra 'fmri'")
    labels = np.zeros((8, 8, 6), dtype=np.int16)
    labels[:4, :4], labels[4:, :4], labels[:4, 4:] = 3, 7, 20
    wave = np.sin(np.arange(12.0))
    for name in ("sub-1_bold", "sub-2_bold"):
        values = labels[..., None] + wave * (labels[..., None] > 0)
        image = nibabel.Nifti1Image(values.astype(np.float32), np.diag([4.0, 4, 4, 1]))
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((4, 4, 4, 0.8))
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    fine = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -1.0
    atlas = tmp_path / "atlas" / "labels.nii.gz"
    atlas.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(fine, affine), atlas)
    return tmp_path, atlas, wave


def test_images_with_an_atlas(brain):
    folder, atlas, wave = brain
    source = FmriSource.open(folder, FmriConfig(frames=4, short="pad"), atlas=atlas)
    assert len(source) == 2 and source.rois == 3 and source.roi_names == ("3", "7", "20")
    assert source.tr(0) == pytest.approx(0.8) and source.subjects == ("sub-1", "sub-2")
    np.testing.assert_allclose(source.read(1), np.array([3, 7, 20])[:, None] + wave, atol=1e-4)
    source.write(folder / "series.npz")
    again = FmriSource.open(folder / "series.npz", FmriConfig(frames=4))
    assert again.subjects == source.subjects and not list(folder.glob(".*"))
    np.testing.assert_array_equal(again.read(1), source.read(1))
    with pytest.raises(DataError, match="cannot write"):
        source.write(folder / "no" / "series.npz")


def test_a_region_outside_of_the_image_is_missing_and_not_left_out(brain):
    import nibabel

    folder, atlas, _ = brain
    image = nibabel.load(atlas)
    labels = np.asarray(image.dataobj).copy()
    far = np.zeros((16, 16, 40), dtype=np.int16)
    far[:, :, :12], far[:4, :4, 30:] = labels, 99
    nibabel.save(nibabel.Nifti1Image(far, image.affine), atlas)
    source = FmriSource.open(folder, FmriConfig(frames=4), atlas=atlas)
    assert source.roi_names == ("3", "7", "20", "99") and source.report.missing == 2
    assert np.isnan(source.read(0)[3]).all() and np.isfinite(source.read(0)[:3]).all()


def test_images_that_cannot_be_used(brain):
    import nibabel

    folder, atlas, _ = brain
    with pytest.raises(DataError, match="give the atlas"):
        FmriSource.open(folder / "sub-1_bold.nii.gz")
    flat = nibabel.Nifti1Image(np.ones((8, 8, 6), np.float32), np.eye(4))
    nibabel.save(flat, folder / "sub-2_bold.nii.gz")
    with pytest.raises(DataError, match="4-D image"):
        FmriSource.open(folder, FmriConfig(frames=4), atlas=atlas)
    file = folder / "sub-2_bold.nii.gz"
    file.write_bytes((folder / "sub-1_bold.nii.gz").read_bytes()[:-400])
    with pytest.raises(DataError, match="cannot read"):
        FmriSource.open(folder, FmriConfig(frames=4), atlas=atlas)
    file.unlink()
    elsewhere = np.diag([2.0, 2, 2, 1])
    elsewhere[:3, 3] = 1e4
    away = nibabel.Nifti1Image(np.ones((4, 4, 4), np.int16), elsewhere)
    nibabel.save(away, atlas)
    with pytest.raises(DataError, match="do not overlap"):
        FmriSource.open(folder, FmriConfig(frames=4), atlas=atlas)
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), 0.5, np.float32), np.eye(4)), atlas)
    with pytest.raises(DataError, match="fractions"):
        FmriSource.open(folder, FmriConfig(frames=4), atlas=atlas)


def test_without_nilearn_the_extra_is_named(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "nilearn.image", None)
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"anyjepa\[fmri\]"):
        FmriSource.open(tmp_path, atlas=tmp_path / "atlas.nii")


# ABIDE I, 66 subjects


def test_abide(require_data):
    root = require_data("fmri-abide-aal116")
    place, people = root / "roi_timeseries.npz", root / "phenotypes.csv"
    with pytest.raises(
        DataError, match=r"10 of 66 scans are shorter than a clip of 160 frames .* frames=77 or less"
    ):
        FmriSource.open(place, FmriConfig(frames=160), table=people)
    source = FmriSource.open(place, FmriConfig(frames=64), table=people)
    report = source.report
    assert (report.scans, report.subjects, report.sites, report.rois) == (66, 66, 2, 116)
    assert report.frames == (77, 195) and report.missing == report.unmatched == 0 and report.flat == 35
    diagnosis, names = source.classes("diagnosis")
    assert names == ("0", "1") and int(diagnosis.sum()) == 39
    pitt = np.array([site == "PITT" for site in source.sites])
    assert pitt.sum() == 56 and diagnosis[pitt].sum() == 29
    age = source.numbers("age")
    assert np.isfinite(age).all() and 5 < age.min() < age.max() < 60
    batch = source.batch(torch.arange(66), seed=0, step=0)
    assert batch.shape == (66, 1, 116, 64) and torch.isfinite(batch).all()
    # Its means are near zero: the official scaling would divide by next to nothing, and two thirds of the values would be huge.
    official = source.with_scaling(fit_scaling("robust-mean", source.scans()))
    assert official.clip(0)[0].abs().median() > 10 * source.clip(0)[0].abs().median()
