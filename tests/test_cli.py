"""The command line: what it accepts, what it refuses and how, and the main job on the built-in digits."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from anyjepa import __version__
from anyjepa.cli import main
from anyjepa.config import read_yaml
from anyjepa.options import SHORT, expand_short, pretrain_parser
from anyjepa.registry import names
from anyjepa.verbs.parser import VERBS
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


@pytest.mark.parametrize("arguments", [[], ["ijepa"], ["--json"]])
def test_methods_lists_citation_and_licence(capsys, arguments):
    assert main(["methods", *arguments]) == 0
    text = capsys.readouterr().out
    assert "ijepa" in text and "2301.08243" in text and "CC BY-NC" in text
    if arguments == ["--json"]:
        assert {one["name"] for one in json.loads(text)} == set(names())


def test_help_of_a_verb_says_what_it_is_for(capsys):
    for verb in VERBS:
        with pytest.raises(SystemExit) as stop:
            main([verb, "ijepa", "--help"] if verb == "pretrain" else [verb, "--help"])
        text = capsys.readouterr().out
        assert stop.value.code == 0 and "usage: anyjepa" in text and len(text) > 100


def test_the_help_needs_no_torch():
    code = "import sys; from anyjepa.cli import main; main([]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_verbs_methods_and_options(capsys, shell):
    pytest.importorskip("shtab", reason="shtab is the extra 'completion'")
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for word in (*VERBS, *names(), "online-probe", "model.patch_size", "seeds"):
        assert word in text, word


def test_bash_completes_a_method_s_option(capsys, tmp_path):
    pytest.importorskip("shtab", reason="shtab is the extra 'completion'")
    bash = shutil.which("bash") or pytest.skip("there is no bash")
    main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = """source ./script; complete -p anyjepa > found; function=$(sed 's/.*-F \\([^ ]*\\).*/\\1/' found)
    COMP_WORDS=(anyjepa pretrain ijepa --model.patch_si); COMP_CWORD=3; $function; echo "${COMPREPLY[@]}"\n"""
    done = subprocess.run([bash, "-c", ask], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["--model.patch_size"], done


def test_exit_codes(capsys, monkeypatch, tmp_path):
    def raising(error):
        def run(**_):
            raise error

        monkeypatch.setattr(VERBS["methods"], "run", run)
        code = main(["methods"])
        return code, capsys.readouterr().err

    assert raising(OSError(28, "No space left on device", "runs/x")) == (
        2,
        "anyjepa: runs/x: No space left on device\n",
    )
    assert raising(KeyboardInterrupt())[0] == 130
    code, text = raising(RuntimeError("odd"))
    assert code == 70 and "RuntimeError: odd" in text and "error of ours" in text


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m anyjepa.cli methods | head -c 1; echo ${{PIPESTATUS[0]}}"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
    assert done.stdout.endswith("0\n") and not done.stderr


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["pretrain"], "name a method"),
        (["prob"], "did you mean 'probe'"),
        (["probe", "x", "--data", "y", "--encdr", "target"], "did you mean '--encoder'"),
        (["probe", "x", "--data", "y", "--encoder", "taget"], "did you mean 'target'"),
        (["probe", "x"], "required: --data. More: anyjepa probe --help"),
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
