"""Runs of a few steps, and an HTML parser that accepts nothing sloppy."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from anyjepa.pretraining import pretrain
from anyjepa.training import RunConfig

VOID = {"meta", "link", "img", "br", "wbr", "hr", "input"}
MODELS = {
    "ijepa": dict(size="nano", dim=16, depth=2, heads=2, predictor_width=16, predictor_depth=1, patch_size=1),
    "lejepa": dict(size="nano", dim=16, depth=2, heads=2, hidden=16, projection=8, patch_size=1),
}
SECTIONS = [
    "curves",
    "masks",
    "errors",
    "features",
    "groups",
    "neighbours",
    "scores",
    "data",
    "settings",
    "environment",
]


def train(out: Path, method: str = "ijepa", data: str = "digits:train", **more) -> Path:
    """A run of four steps."""
    values = dict(
        method=method,
        data=data,
        out=str(out),
        images=dict(limit=40),
        model=MODELS[method] | dict(optim=dict(steps=4)) | more,
        train=dict(batch_size=8, workers=0, log_every=1, accelerator="cpu"),
    )
    pretrain(RunConfig.from_mapping(values))
    return out


class Page(HTMLParser):
    """A page, parsed. Every element must be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, str] = {}
        self._section = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert len(values) == len(attributes), f"an attribute of <{tag}> stands there twice"
        self.elements.append((tag, values))
        if tag == "section":
            self._section = values["id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes what is not open"
        if tag == "section":
            self._section = ""

    def handle_data(self, data):
        self.text[self._section] = self.text.get(self._section, "") + data

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of one kind."""
        return [values for name, values in self.elements if name == tag]

    @property
    def sections(self) -> list[str]:
        """The ids of the sections."""
        return [values["id"] for values in self.all("section")]

    def missing(self) -> list[str]:
        """The sections in whose place a sentence stands."""
        found, section = [], ""
        for tag, values in self.elements:
            section = values["id"] if tag == "section" else section
            if tag == "p" and values.get("class") == "missing":
                found.append(section)
        return found
