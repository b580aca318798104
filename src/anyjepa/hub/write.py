"""Files and directories that exist whole or not at all."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.training.tensorfile import write_bytes, write_tensors

CONFIG, WEIGHTS, CARD, PREPROCESSOR = (
    "config.json",
    "model.safetensors",
    "README.md",
    "preprocessor_config.json",
)
OWN = (CONFIG, WEIGHTS, CARD, PREPROCESSOR)
"""What an exported directory may hold; with ``overwrite`` these are replaced, other files stay."""

Content = str | Mapping[str, Tensor]


def write_directory(out: Path, files: Mapping[str, Content], overwrite: bool) -> None:
    """Write a directory of texts and safetensors files.

    Raises:
        ConfigError: there is something at ``out`` already.
        CheckpointError: it cannot be written; nothing is left of it.
    """
    check_free(out, overwrite, directory=True)
    with _hidden(out) as hidden:
        hidden.mkdir(parents=True)
        for name, content in files.items():
            if isinstance(content, str):
                write_bytes(hidden / name, content.encode())
            else:
                write_tensors(hidden / name, {key: t.contiguous() for key, t in content.items()})
        if not out.exists():
            hidden.rename(out)
            return
        for name in OWN:
            (out / name).unlink(missing_ok=True)
        for name in files:
            (hidden / name).replace(out / name)


def write_file(out: Path, write: Callable[[Path], None], overwrite: bool) -> None:
    """Let ``write`` make one file under a hidden name and move it to ``out``. Raises as :func:`write_directory`."""
    check_free(out, overwrite, directory=False)
    with _hidden(out) as hidden:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(hidden)
        hidden.replace(out)


def check_free(out: Path, overwrite: bool, directory: bool) -> None:
    """Raise ConfigError when there is something at ``out`` that must not be replaced."""
    if not out.exists():
        return
    if out.is_dir() != directory:
        kind, wanted = ("a directory", "a file") if out.is_dir() else ("a file", "a directory")
        raise ConfigError(f"{out} is {kind}: name {wanted} for this export")
    if not overwrite and (not directory or any(out.iterdir())):
        raise ConfigError(f"{out} is already there: name another place, or set overwrite")


def write_archive(path: Path, save: Callable[[io.BytesIO], None]) -> None:
    """Let torch write one of its archives; raises OSError like any other write.

    It goes through memory: on a full disk torch's own writer ends the whole process.
    """
    archive = io.BytesIO()
    save(archive)
    write_bytes(path, archive.getbuffer())


@contextmanager
def _hidden(out: Path) -> Iterator[Path]:
    # The end of the name stays: torch tells its archives by it.
    hidden = out.with_name(f".partial.{out.name}")
    _remove(hidden)
    try:
        yield hidden
    except OSError as error:
        raise CheckpointError(f"{out} could not be written: {error.strerror or error}") from error
    finally:
        _remove(hidden)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
