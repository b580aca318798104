"""The documentation is true: its commands and its Python are run, in order, page by page.

A page starts in an empty directory with small pictures (``photos/``, ``labelled/``, ``held-out/``, ``train.parquet``,
``test.parquet``, ``images.npy``, ``images.npz``, ``photos.csv``, ``photos.zip``, ``shards/``) and, where a page names their
method, little data sets of other kinds (see tests/fields.py). Every ``anyjepa pretrain`` gets the options TINY and TINY_METHOD
on top. A block after a comment ``<!-- not run: reason -->`` is only parsed.
"""

import ast
import contextlib
import dataclasses
import io
import re
import shlex
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from anyjepa import cli, registry
from anyjepa.options import parse_pretrain, split_method
from anyjepa.verbs.parser import build_parser
from anyjepa.verbs.pretrain import groups
from fields import FIELDS, words

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?P<off><!-- not run: .+ -->\n)?```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$", re.M | re.S
)
TINY = shlex.split(
    "--steps 3 --batch-size 8 --workers 0 --devices 1 --size nano --model.dim 16 --model.depth 2 --model.heads 2 "
    "--precision 32-true --train.strategy auto --train.nodes 1 "
    "--train.compile false --train.accumulate 1 --model.optim.warmup_steps 1"
)
TINY_METHOD = {
    "ijepa": shlex.split("--model.predictor_width 8 --model.predictor_depth 2"),
    "dmt-jepa": shlex.split("--model.predictor_width 8 --model.predictor_depth 2"),
    "lejepa": shlex.split("--model.hidden 16"),
    **{
        field.method: [*words("model", field.model), *words(kind, field.options)]
        for kind, field in FIELDS.items()
        if kind != "images"
    },
}
"""The same for the fields of one method alone, and for the kind of data it is for."""
OTHERS = {"make", "pip", "git", "cd", "kill", "tensorboard"}
"""First words of commands that are not ours; make's targets are looked up."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    code: str
    line: int
    run: bool


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(f["language"], f["code"], text.count("\n", 0, f.start("code")) + 1, f["off"] is None)
        for f in FENCE.finditer(text)
    ]


def commands(code: str) -> list[list[str]]:
    """The words of each command; lines that end in a backslash go on."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The directory a page starts in, with a registry of its own."""
    monkeypatch.chdir(tmp_path)
    registry.names()  # imports all methods, which registers them
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    encoded = []
    for i, picture in enumerate(pixels):
        name = f"{['cat', 'dog'][i % 2]}/{i:02d}.png"
        for folder in ("photos", "labelled", "held-out"):
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(file)
        encoded.append((tmp_path / "photos" / name).read_bytes())
    for name in ("train.parquet", "test.parquet"):
        columns = {
            "image": [{"bytes": e, "path": None} for e in encoded],
            "label": [i % 2 for i in range(24)],
        }
        pq.write_table(pa.table(columns), tmp_path / name)
    np.save(tmp_path / "images.npy", pixels)
    np.savez(tmp_path / "images.npz", images=pixels, labels=np.arange(24) % 2)
    files = sorted((tmp_path / "photos").rglob("*.png"))
    lines = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in files]
    (tmp_path / "photos.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(tmp_path / "photos"))
    (tmp_path / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path / "shards" / f"photos-{shard:04d}.tar", "w") as archive:
            for file in files[shard::2]:
                archive.add(file, file.name)
    return tmp_path


def add_field(kind: str, folder: Path) -> None:
    """Write the little data set of another kind of data, unless it is there."""
    if kind != "images" and not (folder / kind).exists():
        FIELDS[kind].write(folder)


def run(words: list[str]) -> None:
    """Run one ``anyjepa`` command in this process; ``> FILE`` at its end is obeyed."""
    target = None
    if ">" in words:
        words, target = words[: words.index(">")], words[words.index(">") + 1]
    arguments = words[1:]
    if words[1] == "pretrain" and "--print_config" not in words:
        method = split_method(words[2:])[0]
        known = {field.name for field in dataclasses.fields(registry.entry(method).config)}
        pairs = zip(TINY[::2], TINY[1::2], strict=True)
        # Not every encoder has one width.
        kept = [
            pair for pair in pairs if not pair[0].startswith("--model.") or pair[0].split(".")[1] in known
        ]
        arguments = [*arguments, *(word for pair in kept for word in pair), *TINY_METHOD[method]]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown if target else sys.stdout):
        try:
            code = cli.main(arguments)
        except SystemExit as end:  # --help and --print_config end the program
            code = end.code
    assert not code, f"{shlex.join(words)} ended with {code}"
    if target:
        Path(target).write_text(shown.getvalue())


def parse(words: list[str]) -> None:
    """Check one ``anyjepa`` command without running it."""
    if words[1] == "pretrain":
        method, rest, *_ = split_method(words[2:])
        parse_pretrain(method, groups(method), rest)
    else:
        build_parser().parse_args(words[1:])


def check_other(words: list[str]) -> None:
    assert words[0] in OTHERS, f"'{words[0]}' is neither ours nor a known tool"
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert {w for w in words[1:] if "=" not in w and not w.startswith("-")} <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_a_page_does_what_it_says(page, workplace, monkeypatch):
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for kind, field in FIELDS.items():
        if f"pretrain {field.method} " in page.read_text():
            add_field(kind, workplace)
    for block in blocks(page):
        if block.language == "python":
            source = "\n" * (block.line - 1) + block.code  # errors name the line of the page
            code = compile(ast.parse(source), str(page), "exec")
            if block.run:
                exec(code, module.__dict__)
        if block.language == "bash":
            for words in commands(block.code):
                if words[0] != "anyjepa":
                    check_other(words)
                elif block.run:
                    run(words)
                else:
                    parse(words)


def test_the_main_job_is_run_and_not_only_parsed():
    ran = [
        words[1]
        for b in blocks(ROOT / "README.md")
        if b.run and b.language == "bash"
        for words in commands(b.code)
        if words[0] == "anyjepa"
    ]
    assert {"pretrain", "resume", "doctor", "probe"} <= set(ran)
    assert any(b.run and "loss.backward()" in b.code for b in blocks(ROOT / "README.md"))


def test_a_wrong_option_is_found(workplace):
    with pytest.raises(ValueError, match=r"--model\.patch_size"):
        parse(shlex.split("anyjepa pretrain ijepa --data photos/ --model.patchsize 4"))
    with pytest.raises(AssertionError, match="ended with 2"):
        run(shlex.split("anyjepa probe nowhere --data labelled/"))
