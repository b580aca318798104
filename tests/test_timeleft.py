"""The line that counts, on a terminal and in a log."""

from anyjepa.verbs import timeleft
from anyjepa.verbs.timeleft import TimeLeft


def test_a_terminal_gets_one_line_with_the_time_left(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 70.0, 100.0])
    monkeypatch.setattr(timeleft.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    show = TimeLeft()
    for done in (1, 5, 10):
        show("reading images", done, 10)
    lines = capsys.readouterr().err.split("\r")
    # Counting began when the first part was done, at 10 s.
    assert "reading images 5/10, 1 min 00 s left" in lines[2]
    assert lines[3].endswith("reading images 10/10\n")


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    clock = iter([0.0, *(float(i) for i in range(1, 101))])
    monkeypatch.setattr(timeleft.time, "monotonic", lambda: next(clock))
    show = TimeLeft(gap=30)
    for done in range(1, 101):
        show("fitting probes", done, 100)
    assert len(capsys.readouterr().err.splitlines()) == 3
