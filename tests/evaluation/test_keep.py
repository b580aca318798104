"""What a probe has found is not lost where it cannot be written."""

import pytest

from anyjepa.errors import DataError
from anyjepa.evaluation.dense import DenseResult, DenseScore
from anyjepa.evaluation.keep import keep, places

RESULT = DenseResult(
    "segmentation", "a.npz", "b.npz", (), (DenseScore("runs/a", "pretrained", 0, {"miou": 0.375}),)
)


def test_places_are_the_runs_that_are_here_and_the_file_that_was_asked_for(tmp_path):
    assert places([tmp_path, "hf:somewhere"], "probe.json", None) == [tmp_path / "probe.json"]
    assert places(["hf:somewhere"], "probe.json", tmp_path / "out.json") == [tmp_path / "out.json"]


def test_a_result_is_in_the_error_where_no_file_can_be_written(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    keep(RESULT, [tmp_path / "kept.json"])
    assert "0.375" in (tmp_path / "kept.json").read_text()
    monkeypatch.setattr("anyjepa.evaluation.keep.write_whole", full)
    with pytest.raises(
        DataError, match=r"cannot write .*No space left on device.*the result was:[\s\S]*37\.5"
    ):
        keep(RESULT, [tmp_path / "lost.json"])
