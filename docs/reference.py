"""Puts tables of config fields into the pages: each is read from the source, so it cannot fall behind.

A line ``<!-- fields: anyjepa.schedules.OptimConfig -->`` in a page becomes the table of that dataclass.
"""

import ast
import re
from pathlib import Path
from typing import Any

SRC = Path(__file__).parent.parent / "src"
MARK = re.compile(r"^<!-- fields: ([\w.]+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for every page."""
    return MARK.sub(lambda found: table(found[1]), markdown)


def table(name: str) -> str:
    """The fields of a dataclass, inherited ones first, as a Markdown table: name, type, default, docstring."""
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows(name).values()])


def rows(name: str) -> dict[str, str]:
    """The line of each field; what a class says of an inherited one replaces it."""
    module, _, cls = name.rpartition(".")
    file = SRC.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(file.read_text())
    (found,) = (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == cls)
    imported = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lines: dict[str, str] = {}
    for base in map(ast.unparse, found.bases):
        lines |= rows(f"{imported.get(base, module)}.{base}")
    for node, after in zip(found.body, found.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and not of_the_class(node):
            text = " ".join(ast.literal_eval(after.value).split())
            default = ast.unparse(node.value) if node.value else ""
            default = re.sub(r"field\(default_factory=(\w+)\)", r"\1()", default)
            field = ast.unparse(node.target)
            cells = (
                f"`{field}`",
                f"`{ast.unparse(node.annotation)}`",
                f"`{default}`",
                text,
            )
            lines[field] = "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    return lines


def of_the_class(node: ast.AnnAssign) -> bool:
    """Whether this is a constant of the class and no field."""
    return ast.unparse(node.annotation).startswith("ClassVar")
