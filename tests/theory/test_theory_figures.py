"""The figures and the verb that writes them."""

import csv
import sys

import numpy as np
import pytest

from anyjepa.cli import main
from anyjepa.errors import ConfigError
from anyjepa.theory import FIGURES, critical_time, make_figure


def columns(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_verb_writes_numbers_and_pictures(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is the extra 'theory'")
    assert main(["theory", "f6", "F1", "F6", "--out", str(tmp_path / "new" / "folder")]) == 0
    folder = tmp_path / "new" / "folder"
    assert sorted(f.name for f in folder.iterdir()) == ["F1.csv", "F1.png", "F6.csv", "F6.png"]
    assert (folder / "F6.png").read_bytes().startswith(b"\x89PNG") and (
        folder / "F6.png"
    ).stat().st_size > 20_000
    text = capsys.readouterr().out
    assert text.count("F6:") == 1 and "of the closed form" in text


def test_simulated_and_exact_curves_agree(tmp_path):
    assert main(["theory", "F1", "--numbers", "--out", str(tmp_path)]) == 0
    assert [f.name for f in tmp_path.iterdir()] == ["F1.csv"]
    rows = columns(tmp_path / "F1.csv")
    for panel in {row["panel"] for row in rows}:
        for label in {row["label"] for row in rows}:
            theory, simulation = (
                np.array(
                    [
                        (float(row["x"]), float(row["y"]))
                        for row in rows
                        if (row["panel"], row["label"], row["kind"]) == (panel, label, kind)
                    ]
                ).T
                for kind in ("theory", "simulation")
            )
            inside = simulation[0] <= theory[0, -1]
            expected = np.interp(simulation[0][inside], *theory)
            assert np.abs(expected - simulation[1][inside]).max() < 0.03, (panel, label)


@pytest.mark.parametrize("name", ["F2", "F3", "F4"])
def test_a_figure_shows_its_claim(name):
    figure = make_figure(name)
    assert figure.deviation < 0.03 and figure.name == name and len(figure.panels) == 2
    jepa, mae = (
        {line.label: line for line in panel.lines if line.kind == "simulation"} for panel in figure.panels
    )
    if name == "F2":
        for panel in (jepa, mae):
            assert (np.diff([line.y.sum() for line in panel.values()]) > 0).all()
    if name == "F3":
        (line,) = (o for o in figure.panels[0].lines if o.label == "start 0.01" and o.kind == "theory")
        times = critical_time("jepa", 6, 1.0, [0.5, 0.9])
        assert line.y[-1] == pytest.approx(times[0] / times[1])
        assert (np.diff(jepa["start 0.01"].y) > 0).all() and np.allclose(mae["start 0.01"].y, 1, atol=0.06)
    if name == "F4":
        late = [jepa[f"depth {depth}"].y[-1] for depth in (1, 2, 3)]
        assert 1 < late[0] < late[1] < late[2]
        assert np.allclose([line.y for line in mae.values()], 1, atol=0.15)


def test_every_figure_is_known_and_others_are_not(capsys, tmp_path):
    assert list(FIGURES) == ["F1", "F2", "F3", "F4", "F5", "F6"]
    with pytest.raises(ConfigError, match="unknown figure 'F7'"):
        make_figure("F7")
    assert main(["theory", "F9", "--out", str(tmp_path / "x")]) == 2
    assert "unknown figure 'F9'" in capsys.readouterr().err and not (tmp_path / "x").exists()
    (tmp_path / "file").touch()
    assert main(["theory", "F1", "--numbers", "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_without_matplotlib_the_extra_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["theory", "F6", "--out", str(tmp_path / "x")]) == 2
    assert "pip install 'anyjepa[theory]'" in capsys.readouterr().err and not (tmp_path / "x").exists()
