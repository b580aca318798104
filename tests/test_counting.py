"""The line that counts, on a terminal and in a log."""

from anyjepa.verbs import counting
from anyjepa.verbs.counting import Counting


def test_a_terminal_gets_one_line_with_the_time_left(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 70.0, 100.0])
    monkeypatch.setattr(counting.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    show = Counting()
    for done in (100, 400, 1000):
        show("reading images", done, 1000)
    lines = capsys.readouterr().err.split("\r")
    # Counting began when the first part was done, at 10 s: 300 in a minute.
    assert lines[1].endswith("reading images 100/1000")
    assert lines[2].endswith("reading images 400/1000, 5 a second, time left 2:00")
    assert lines[3].endswith("reading images 1000/1000, 10 a second\n")


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    clock = iter([0.0, *(float(i) for i in range(1, 101))])
    monkeypatch.setattr(counting.time, "monotonic", lambda: next(clock))
    show = Counting(gap=30)
    for done in range(1, 101):
        show("fitting probes", done, 100)
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_counting_that_begins_again_begins_anew(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 2.0, 103.0, 104.0])
    monkeypatch.setattr(counting.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    show = Counting()
    for done in (10, 20, 10, 20):
        show("fine-tuning", done, 30)
    assert capsys.readouterr().err.split("\r")[-1].endswith("20/30, 10 a second, time left 0:01")
