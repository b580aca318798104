"""The command line: what it accepts, what it refuses and how, and the main job on the built-in digits."""

import json

import pytest

from anyjepa import __version__
from anyjepa.cli import main
from anyjepa.config import read_yaml
from anyjepa.options import SHORT, expand_short, pretrain_parser
from anyjepa.verbs.pretrain import groups

TINY = [
    *("--data", "digits:train", "--size", "nano", "--model.dim", "16", "--model.depth", "2"),
    *("--model.predictor_depth", "1", "--batch-size", "16", "--workers", "0"),
]


def error_of(capsys, *arguments):
    code = main(list(arguments))
    captured = capsys.readouterr()
    assert code == 2 and "Traceback" not in captured.err
    return captured.err


def test_version_and_help(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out.strip() == __version__
    assert main([]) == 0 and "anyjepa pretrain ijepa --data" in capsys.readouterr().out


def test_methods_lists_citation_and_licence(capsys):
    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    assert "ijepa" in text and "2301.08243" in text and "CC BY-NC" in text


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["pretrain"], "name a method"),
        (["pretrain", "ijpea", "--data", "x"], "did you mean 'ijepa'"),
        (["pretrain", "ijepa"], "say what to train on"),
        (["pretrain", "ijepa", "--dta", "x"], "did you mean '--data'"),
        (["pretrain", "ijepa", "--data", "digits", "--sise", "tiny"], "did you mean '--size'"),
        (["pretrain", "ijepa", "--data", "digits", "--size", "tyni"], "did you mean 'tiny'"),
        (
            ["pretrain", "ijepa", "--data", "digits", "--model.pach_size", "2"],
            "did you mean '--model.patch_size'",
        ),
        (["pretrain", "ijepa", "--data", "digits", "--optim.lr", "1"], "did you mean --model.optim.lr"),
        (["pretrain", "ijepa", "--data", "digits", "--steps", "many"], "model.optim.steps"),
        (["pretrain", "ijepa", "--data", "no/such/folder"], "no/such/folder"),
        (["pretrain", "ijepa", "--config", "no.yaml"], "no.yaml"),
        (["resume", "no/run"], "no/run"),
        (["probe", "no/run", "--data", "digits"], "no/run"),
    ],
)
def test_errors_name_what_would_work(capsys, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    assert expected in error_of(capsys, *arguments)


def test_unknown_key_in_a_file_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("method: ijepa\ndata: digits\nmodel:\n  patchsize: 2\n")
    assert "did you mean '--model.patch_size'" in error_of(capsys, "pretrain", "--config", "c.yaml")
    (tmp_path / "c.yaml").write_text("method: ijepa\ndtaa: digits\n")
    assert "did you mean '--data'" in error_of(capsys, "pretrain", "--config", "c.yaml")


def test_a_file_for_another_method_is_refused(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("method: vjepa\ndata: digits\n")
    assert "is for method 'vjepa'" in error_of(
        capsys, "pretrain", "ijepa", "--config", str(tmp_path / "c.yaml")
    )


def test_every_short_name_is_an_option():
    options = {
        o for action in pretrain_parser("ijepa", groups("ijepa"))._actions for o in action.option_strings
    }
    assert set(SHORT.values()) <= options and not set(SHORT) & options
    assert expand_short(["--size=tiny", "--steps", "3", "x"]) == [
        "--model.size=tiny",
        "--model.optim.steps",
        "3",
        "x",
    ]


def test_printed_config_is_a_config_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", "ijepa", *TINY, "--steps", "2", "--print_config"])
    assert stop.value.code == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert read_yaml("c.yaml")["model"]["dim"] == 16
    assert main(["pretrain", "--config", "c.yaml", "--out", "run", "--steps", "1"]) == 0
    written = read_yaml("run/config.yaml")
    assert (
        written["model"]["optim"]["steps"] == 1
        and written["model"]["dim"] == 16
        and written["data"] == "digits:train"
    )


def test_the_main_job(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["pretrain", "ijepa", *TINY, "--steps", "4", "--train.log_every", "1", "--out", "run"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "size=nano" in text and "8x8 tokens" in text and "anyjepa probe run" in text
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert main(["resume", "run"]) == 0 and "finished" in capsys.readouterr().out
    assert "already holds a run" in error_of(capsys, *arguments)
    assert main([*arguments, "--overwrite"]) == 0
    capsys.readouterr()
    assert main(["probe", "run", "--data", "digits:train", "--test", "digits:test", "--labels", "100"]) == 0
    text = capsys.readouterr().out
    assert "untrained" in text and "target" in text
