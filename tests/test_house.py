"""The rules of the house as tests: sizes, who may import whom, docstrings, no unpickling, what the package ships."""

import ast
import dataclasses
import importlib
import inspect
import re
import statistics
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest
import torch
from jaxtyping import TypeCheckError

import anyjepa

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
FILES = sorted((SRC / "anyjepa").rglob("*.py"))
NAMES = [".".join(f.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__") for f in FILES]
each_file = pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(SRC)) for f in FILES])
each_module = pytest.mark.parametrize("name", NAMES)

PARTS = {"nn", "tokenizers", "masking", "objectives", "views"}
LAYERS = (
    "data",
    "monitoring",
    "training",
    "hub",
    "evaluation",
    "pretraining",
    "embedding",
    "policies",
    "tabular",
    "report",
    "theory",
    "planning",
    "rollout",
    "verbs",
    "cli",
)
"""Rooms that use methods from outside, each of which may know those before it."""
USERS = set(LAYERS)
MAY_NOT_KNOW = {
    "contract": {"registry", "methods", *PARTS, *USERS},
    "nn": {"registry", "methods", *USERS},
    "tokenizers": {"registry", "methods", *USERS},
    "masking": {"registry", "methods", *USERS},
    "objectives": {"registry", "methods", *USERS},
    "views": {"registry", "methods", "nn", "tokenizers", "masking", "objectives", *USERS},
    "methods": USERS,
    **{room: {"methods", *LAYERS[i + 1 :]} for i, room in enumerate(LAYERS)},
    # A laboratory of its own: it explains the library and uses none of it but errors and parts.
    "theory": {"registry", "methods", "tokenizers", "masking", "views", *USERS},
}
"""What a room must not import, whether at the top of a file, in a function or for its types alone."""

DISCOVERY = ("registry", "methods")
"""The registry imports every file of the methods' directory, naming none: the one arrow against the order."""

TIED_TO_A_TORCH_BUILD = {"torchvision", "torchaudio", "torchcodec", "timm"}
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}
"""Packages that are installed under another name than they are imported by."""


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def imported(file: Path) -> Iterator[str]:
    """Full names of all imported modules, wherever in the file."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} has a relative import: write the full name"
            yield node.module or ""


def room(module: str) -> str:
    """``anyjepa.nn.attention`` is in the room ``nn``, ``anyjepa.config`` is a room of its own."""
    return module.split(".")[1] if "." in module else ""


@cache
def rooms() -> dict[str, set[str]]:
    """For each room the rooms it imports."""
    graph: dict[str, set[str]] = {}
    for name, file in zip(NAMES, FILES, strict=True):
        targets = {room(m) for m in imported(file) if m.split(".")[0] == "anyjepa"}
        graph.setdefault(room(name), set()).update(targets - {room(name), ""})
    graph.pop("")  # the front door anyjepa/__init__.py knows contract and registry; nobody imports from it
    graph[DISCOVERY[0]].discard(DISCOVERY[1])
    return graph


def test_files_are_short():
    lengths = {str(f.relative_to(SRC)): len(f.read_text().splitlines()) for f in FILES}
    assert not {f: n for f, n in lengths.items() if n > 600}
    assert statistics.median(n for f, n in lengths.items() if not f.endswith("__init__.py")) < 200


def test_names_of_test_files_are_unique():
    """Pytest imports them all under their bare names."""
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(MAY_NOT_KNOW))
def test_rooms_know_only_what_is_below_them(name):
    assert not rooms().get(name, set()) & MAY_NOT_KNOW[name]


def test_no_room_leads_back_to_itself():
    done: set[str] = set()

    def walk(at: str, path: tuple[str, ...]) -> None:
        assert at not in path, f"cycle between rooms: {' -> '.join([*path[path.index(at) :], at])}"
        if at not in done:
            for following in sorted(rooms().get(at, ())):
                walk(following, (*path, at))
            done.add(at)

    for name in sorted(rooms()):
        walk(name, ())


@each_file
def test_no_file_imports_what_ties_to_a_torch_build(file):
    assert not {m.split(".")[0] for m in imported(file)} & TIED_TO_A_TORCH_BUILD


def run_while_forbidden(forbidden: set[str], code: str) -> None:
    """Run code in a fresh process in which the packages seem not to be installed, and in which asking is recorded."""
    setup = f"""
import sys
class Refuse:
    asked = set()
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden!r}:
            self.asked.add(name)
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {str(SRC)!r})
"""
    done = subprocess.run([sys.executable, "-c", setup + code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_core_does_not_even_look_for_what_ties_to_a_torch_build():
    run_while_forbidden(
        TIED_TO_A_TORCH_BUILD,
        "import anyjepa; anyjepa.create('ijepa', size='nano', image_size=[32, 32]); assert not Refuse.asked, Refuse.asked",
    )


def imported_at_once(nodes: list[ast.stmt]) -> Iterator[str]:
    """Top names of the packages that are needed to import a module: all but those imported in functions or for types."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        yield from imported_at_once([n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)])


@each_file
def test_what_is_imported_at_once_is_a_mandatory_dependency(file):
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    mandatory = {re.split(r"[^\w-]", line)[0] for line in listed}
    needed = set(imported_at_once(tree(file).body)) - sys.stdlib_module_names - {"anyjepa"}
    assert {DISTRIBUTIONS.get(name, name) for name in needed} <= mandatory


@each_module
def test_everything_public_has_a_docstring(name):
    module = importlib.import_module(name)
    bare = [] if module.__doc__ else [name]
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isclass(value):
            # A dataclass without a docstring gets its signature for one.
            generated = dataclasses.is_dataclass(value) and (value.__doc__ or "").startswith(f"{key}(")
            bare += [key] if not value.__doc__ or generated else []
            bare += [
                f"{key}.{m}"
                for m in public_members(value)
                if not any(
                    hasattr(c, m) and inspect.getdoc(getattr(c, m)) for c in [value, *protocols(module)]
                )
            ]
        elif inspect.isfunction(value) and not inspect.getdoc(value):
            bare.append(key)
    assert not bare


def protocols(module: ModuleType) -> list[type]:
    """Protocols of a module: the classes beside them that fulfil them need not repeat their docstrings."""
    classes = [c for c in vars(module).values() if inspect.isclass(c) and c is not Protocol]
    return [c for c in classes if getattr(c, "_is_protocol", False)]


def public_members(cls: type) -> list[str]:
    """Methods and properties written in the class itself; an override may inherit its docstring."""
    kinds = (property, staticmethod, classmethod)
    return [
        k for k, v in vars(cls).items() if k[0] != "_" and (inspect.isfunction(v) or isinstance(v, kinds))
    ]


def config_classes(file: Path) -> list[ast.ClassDef]:
    return [n for n in ast.walk(tree(file)) if isinstance(n, ast.ClassDef) and n.name.endswith("Config")]


@each_file
def test_configs_are_frozen_and_every_field_says_what_it_is(file):
    for cls in config_classes(file):
        assert "dataclass(frozen=True)" in [ast.unparse(d) for d in cls.decorator_list], (
            f"{cls.name} is not frozen"
        )
        for node, after in zip(cls.body, [*cls.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign):
                described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert described, f"{cls.name}.{ast.unparse(node.target)} has no docstring under it"


def test_there_are_configs_to_check():
    assert {"IJEPAConfig", "OptimConfig"} <= {c.name for f in FILES for c in config_classes(f)}


PICKLERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
REQUIRED = {
    "torch.load": "weights_only=True",
    "np.load": "allow_pickle=False",
    "numpy.load": "allow_pickle=False",
}
FORBIDDEN = {
    "yaml.load",
    "yaml.full_load",
    "yaml.unsafe_load",
    "pd.read_pickle",
    "eval",
    "exec",
    "torch.jit.load",
}
FORBIDDEN_KEYWORDS = {"trust_remote_code=True", "allow_pickle=True", "weights_only=False"}


def unsafe(source: ast.AST) -> list[str]:
    """Everything in a piece of code that could run what a file contains."""
    found = []
    for node in ast.walk(source):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name.split(".")[0] in PICKLERS]
        if isinstance(node, ast.Call):
            name, keywords = ast.unparse(node.func), {ast.unparse(k) for k in node.keywords}
            if name in FORBIDDEN or (name in REQUIRED and REQUIRED[name] not in keywords):
                found.append(ast.unparse(node))
            found += sorted(keywords & FORBIDDEN_KEYWORDS)
    return found


@each_file
def test_nothing_is_ever_unpickled(file):
    assert not unsafe(tree(file))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "torch.load(path, map_location='cpu')",
        "np.load(path)",
        "yaml.load(text)",
        "model.load(path, weights_only=False)",
    ],
)
def test_what_unpickles_is_recognised(code):
    assert unsafe(ast.parse(code))


def test_the_wheel_ships_types_licence_and_nothing_else(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; make setup installs it")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    assert "anyjepa/py.typed" in shipped and any(f.endswith("licenses/LICENSE") for f in shipped)
    assert {str(f.relative_to(SRC)) for f in FILES} <= shipped
    assert {f.split("/")[0].split("-")[0] for f in shipped} == {"anyjepa"}


def test_the_tests_check_shapes():
    """The import hook of conftest.py is at work: a batch whose axes do not agree cannot be made."""
    with pytest.raises(TypeCheckError):
        anyjepa.Batch(torch.zeros(2, 3, 4, 4), torch.arange(3))
