"""Log files read as one uninterrupted run, whatever happened to them, and progress tells the time left."""

from __future__ import annotations

import csv
import errno
import io
import json
import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyjepa.training import progress
from anyjepa.training.log import CsvSink, JsonSink


def row(step: int) -> dict:
    return {"step": step, "loss": 1 / step, "lr": 1e-3 / step}


def written(run) -> tuple[list[dict], list[dict]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return lines, list(csv.DictReader((run / "log.csv").open()))


def write(run, start: int, steps) -> None:
    for sink in (JsonSink(run, start), CsvSink(run, start)):
        for step in steps:
            sink.write(row(step))
        sink.sync()
        sink.close()


@pytest.mark.parametrize("tail", ["", '{"step": 6, "lo', "6,0.1", "garbage\n", "\x00\x00\x00\n", "\n"])
def test_lines_after_the_checkpoint_and_torn_ones_are_dropped(tmp_path, tail):
    write(tmp_path, 0, range(1, 6))
    for name in ("log.jsonl", "log.csv"):
        with (tmp_path / name).open("a") as file:
            file.write(tail)
    write(tmp_path, 3, range(4, 8))
    for lines in written(tmp_path):
        assert [int(line["step"]) for line in lines] == list(range(1, 8))
        assert [float(line["loss"]) for line in lines] == [1 / s for s in range(1, 8)]


def test_a_restart_from_nothing_leaves_only_new_lines(tmp_path):
    write(tmp_path, 0, range(1, 6))
    write(tmp_path, 0, range(1, 3))
    for lines in written(tmp_path):
        assert [int(line["step"]) for line in lines] == [1, 2]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_exactly(tmp_path_factory, value):
    run = tmp_path_factory.mktemp("log")
    for sink in (JsonSink(run, 0), CsvSink(run, 0)):
        sink.write({"step": 1, "loss": value})
        sink.close()
    lines, table = written(run)
    assert lines[0]["loss"] == value and float(table[0]["loss"]) == value


def test_json_stays_json(tmp_path):
    sink = JsonSink(tmp_path, 0)
    sink.write({"step": 1, "loss": 1.0, "odd": math.inf})
    sink.close()
    assert json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=pytest.fail)["odd"] is None


def test_csv_keeps_its_columns_when_rows_change(tmp_path):
    sink = CsvSink(tmp_path, 0)
    sink.write({"step": 1, "a": 1.0})
    sink.write({"step": 2, "b": 1.0})
    sink.close()
    assert (tmp_path / "log.csv").read_text() == "step,a\n1,1.0\n2,\n"


def test_on_a_full_disk_lines_wait(tmp_path, caplog):
    class Full:
        """A file that takes half of the second line and then nothing."""

        def __init__(self, file):
            self.file, self.room = file, 35

        def write(self, data):
            if self.room == 0:
                raise OSError(errno.ENOSPC, "full")
            done = self.file.write(bytes(data[: self.room]))
            self.room -= done
            return done

        def __getattr__(self, name):
            return getattr(self.file, name)

    sink = JsonSink(tmp_path, 0)
    sink._lines._file = full = Full(sink._lines._file)
    with caplog.at_level(logging.WARNING):
        sink.write({"step": 1, "loss": 0.5})
        sink.write({"step": 2, "loss": 0.5})
    assert "wait for space" in caplog.text
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [1]
    full.room = 1000
    sink.write({"step": 3, "loss": 0.5})
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
    ]


def test_plain_progress_is_a_line_now_and_then(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    shown = progress.open_progress(100, 300, out)
    for step in range(101, 301):
        clock[0] += 1.0
        shown.update(step, 0.5, 64.0)
    shown.close()
    lines = out.getvalue().splitlines()
    assert 20 <= len(lines) <= 22
    assert lines[0] == "step 101/300 (33%)  loss 0.5000  64 samples/s  time left 3:19"
    assert lines[-1].startswith("step 300/300 (100%)") and lines[-1].endswith("time left 0:00")


def test_on_a_terminal_progress_is_a_bar():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    shown = progress.open_progress(0, 10, out)
    assert isinstance(shown, progress.Bar)
    for step in range(1, 11):
        shown.update(step, 0.25, 64.0)
    shown.close()
    assert "10/10" in out.getvalue() and "0.2500" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text
