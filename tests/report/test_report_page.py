"""The page of a run: whole, self-contained, the same each time, harmless, and never refused for what is missing."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
from pages import SECTIONS, Page, train
from PIL import Image

from anyjepa.cli import main
from anyjepa.errors import CheckpointError, ConfigError, DataError
from anyjepa.evaluation.result import ProbeResult
from anyjepa.evaluation.scores import Row, Score
from anyjepa.report import write_report

ATTACK = "<script>alert(1)</script>"


@pytest.fixture
def run(ijepa_run, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(ijepa_run, tmp_path / "run")


def page_of(run, *arguments, **options) -> Page:
    return Page(write_report(run, *arguments, images=20, **options).read_text())


def undated(text: str) -> str:
    return re.sub(r"<time.*?</time>", "", text)


def assert_self_contained(page: Page) -> None:
    """Nothing is fetched; the only addresses outside are links to papers, which a person follows."""
    for tag, values in page.elements:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            address = values.get(name, "")
            paper = tag == "a" and re.fullmatch(r"https://arxiv\.org/abs/[\d.]+", address)
            assert address == "" or address.startswith(("data:", "#")) or paper, (tag, address)
    assert not {"iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}


def assert_accessible(page: Page) -> None:
    assert all(values.get("alt") for values in page.all("img"))
    assert all(values.get("aria-label") or values.get("aria-hidden") for values in page.all("svg"))
    assert all(values.get("scope") for values in page.all("th"))
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    ids = [values["id"] for _, values in page.elements if "id" in values]
    assert len(ids) == len(set(ids))
    assert {v["href"][1:] for v in page.all("a") if v["href"].startswith("#")} <= set(ids)


def test_a_run_that_masks_has_everything(ijepa_run, tmp_path):
    page = page_of(ijepa_run, None, tmp_path / "page.html")
    assert page.sections == SECTIONS
    assert page.missing() == []
    assert_self_contained(page)
    assert_accessible(page)
    # image, context, targets; image, error; image and four maps; one strip of groups: of eight images. Six queries with twice
    # five neighbours.
    assert len(page.all("img")) == 8 * (3 + 2 + 5 + 1) + 6 * 11
    assert "Too early to say" in page.text[""] and "4 of 4" in page.text[""]
    assert "8 x 8 tokens" in page.text["masks"] and "same class" in page.text["neighbours"]
    assert f"anyjepa probe {ijepa_run} --data LABELLED" in page.text["scores"]
    assert "40 images, grey" in page.text["data"] and "model.optim.steps" in page.text["settings"]
    assert "lightning" in page.text["environment"]


def test_a_run_without_masks_says_so(lejepa_run, tmp_path):
    page = page_of(lejepa_run, "digits:test", tmp_path / "page.html")
    assert page.sections == SECTIONS and page.missing() == ["masks", "errors"]
    assert "no masks in its output" in page.text["masks"] and "digits:test" in page.text[""]
    assert len(page.all("img")) == 8 * (5 + 1) + 6 * 11
    assert_self_contained(page)
    assert_accessible(page)


def test_the_same_run_gives_the_same_page(ijepa_run, tmp_path):
    first, second = (
        write_report(ijepa_run, out=tmp_path / f"{i}.html", images=20).read_text() for i in range(2)
    )
    assert undated(first) == undated(second) != first


def test_the_command_writes_into_the_run(run, capsys):
    assert main(["report", str(run), "--images", "20"]) == 0
    assert str(run / "report.html") in capsys.readouterr().out
    assert Page((run / "report.html").read_text()).sections == SECTIONS
    assert not list(run.glob(".*"))


def test_scores_stand_in_a_table(run):
    scores = (
        Score("knn", "accuracy", (0.5, 0.6), (0.4, 0.7)),
        Score("linear", "accuracy", (0.7, 0.8), (0.6, 0.9)),
    )
    result = ProbeResult(
        runs=(str(run),),
        methods=("ijepa",),
        shapes=((3, 16, 16),),
        task="classify",
        encoder="target",
        pooling="mean",
        layers=(-1,),
        train="a",
        test=ATTACK,
        train_size=50,
        test_size=10,
        classes=10,
        chance=0.1,
        seeds=(0, 1),
        protocol=("p",),
        notes=(),
        rows=(Row(ATTACK, 50, 16, scores=scores),),
    )
    (run / "probe.json").write_text(result.to_json())
    page = page_of(run)
    assert "55.0 ± 7.1" in page.text["scores"] and "75.0 ± 7.1" in page.text["scores"]
    assert page.text["scores"].count(ATTACK) >= 1 and len(page.all("script")) == 1


def test_a_log_alone_is_enough(run):
    for name in ("checkpoints", "config.yaml", "run.json", "log.csv"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(run)
    assert page.sections == SECTIONS
    assert page.missing() == [
        "masks",
        "errors",
        "features",
        "groups",
        "neighbours",
        "data",
        "settings",
        "environment",
    ]
    assert "There is no checkpoint yet" not in page.text["curves"]
    assert "no checkpoint yet" in page.text["masks"] and page.all("path")


def test_a_run_that_has_just_begun(run):
    shutil.rmtree(run / "checkpoints")
    (run / "log.jsonl").write_text("")
    page = page_of(run)
    assert page.missing() == ["curves", "masks", "errors", "features", "groups", "neighbours"]
    assert "No verdict" in page.text[""] and "0 of 4: not finished" in page.text[""]


@pytest.mark.parametrize(
    "name, text, sections",
    [
        ("log.jsonl", "no json\n", ["curves"]),
        ("log.jsonl", '{"step": 1, "loss": null}\n{"step": 2, "loss": "x", "lr": [1]}\n', ["curves"]),
        ("config.yaml", "a: [", []),
        ("config.yaml", "method: unknown\nmodel: {x: 1}\ndata: nowhere\n", ["settings"]),
        ("config.yaml", "method: [1]\nmodel: 3\nimages: 4\ntrain: []\n", ["masks", "data", "settings"]),
        ("run.json", "[1, 2]", ["environment"]),
        ("run.json", '{"versions": 3, "hardware": {"gpus": 1}, "command": {"a": [1]}}', []),
        ("probe.json", "{}", ["scores"]),
        (
            "checkpoints/step-00000004/model.safetensors",
            "torn",
            ["masks", "errors", "features", "groups", "neighbours"],
        ),
    ],
)
def test_broken_files_cost_their_section_alone(run, name, text, sections):
    (run / name).write_text(text)
    missing = page_of(run).missing()
    assert set(sections) <= set(missing)
    if name != "config.yaml":
        assert missing == sections


def test_data_that_moved_away(run):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("data: digits:train", "data: gone/with/the/wind"))
    page = page_of(run)
    assert page.missing() == ["masks", "errors", "features", "groups", "neighbours", "data"]
    assert "gone/with/the/wind does not exist" in page.text["neighbours"]
    assert page_of(run, "digits:test").missing() == ["data"]


def test_what_cannot_be_helped_is_refused(run, tmp_path):
    with pytest.raises(CheckpointError, match="not a run directory"):
        write_report(tmp_path / "nothing")
    with pytest.raises(DataError, match="does not exist"):
        write_report(run, "no/such/data")
    with pytest.raises(ConfigError, match="is a directory"):
        write_report(run, out=tmp_path)
    with pytest.raises(ConfigError, match="at least 1"):
        write_report(run, images=0)
    assert main(["report", str(tmp_path / "nothing")]) == 2


def test_text_of_the_run_is_text(tmp_path):
    for i in range(16):
        folder = tmp_path / "data" / ["<img src=x onerror=alert(1)>", "\"'><b>"][i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}&amp;.png")
    run = train(tmp_path / "<i>run</i>".replace("/", ""), data=str(tmp_path / "data"))
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"command": [ATTACK], ATTACK: ATTACK, "started": ATTACK}))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (run / "log.jsonl").write_text("".join(json.dumps(row | {f"{ATTACK}\"'": 1.0}) + "\n" for row in lines))
    text = write_report(run).read_text()
    page = Page(text)
    assert page.missing() == [] and len(page.all("script")) == 1 and not page.all("b") and not page.all("i")
    assert not [values for _, values in page.elements if any(name.startswith("on") for name in values)]
    assert ATTACK in page.text["environment"] and f"{ATTACK}\"'" in page.text["curves"]
    assert "<img src=x onerror=alert(1)>" in page.text["masks"]
    policy = next(v["content"] for v in page.all("meta") if "http-equiv" in v)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    # What the policy would refuse.
    assert not [values for _, values in page.elements if "style" in values]


def test_pages_of_large_pictures_stay_small(tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(12):
        # Noise: nothing compresses worse.
        pixels = np.random.default_rng(i).integers(0, 256, (224, 224, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{i:02d}.png")
    run = train(tmp_path / "run", data=str(tmp_path / "data"), patch_size=32)
    file = write_report(run)
    assert file.stat().st_size < 5_000_000
    assert Page(file.read_text()).missing() == []
