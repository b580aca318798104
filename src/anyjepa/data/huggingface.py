"""Data sets of the Hugging Face `datasets` library: by name, or as `save_to_disk` left them in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anyjepa.data import tables
from anyjepa.data.base import EncodedSource, encode_labels
from anyjepa.errors import DataError, MissingExtraError, nearest

PREFIX = "hf:"
"""What a name begins with: ``hf:NAME`` or ``hf:NAME:SPLIT``."""
_ONE, _MANY = ("dataset_info.json", "state.json"), ("dataset_dict.json",)


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return any(all((folder / name).is_file() for name in names) for names in (_ONE, _MANY))


class HuggingFaceSource(EncodedSource):
    """One split. Its Arrow table is mapped into memory and its images are decoded by us; no code of others runs.

    Args:
        place: a name on the hub, or the folder that `save_to_disk` wrote.
        split: its name; None: ``train``, or the only one.
        image_column: column of the images; None: found.
        label_column: column of the labels; None: found by name.
        labels: read the labels.
    """

    def __init__(
        self,
        place: str,
        split: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        labels: bool = False,
    ) -> None:
        self.place = place
        # The rows as Arrow keeps them: nothing is decoded, and no feature class of the data set is asked.
        self._data = _load(place, split).with_format("arrow")
        schema = self._data.features.arrow_schema
        self.image_column = tables.image_column(schema, image_column, place)
        _validate(self._data, self.image_column, place)
        self._images = self._data.select_columns([self.image_column])
        if labels:
            name = tables.label_column(schema.names, label_column, place)
            _validate(self._data, name, place)
            try:
                values = self._data.select_columns([name])[:].column(0)
            except Exception as error:  # as in _load
                raise DataError(f"{place}: cannot read column '{name}': {error}") from error
            if values.null_count:
                raise DataError(f"{place}: column '{name}' lacks {values.null_count} labels")
            self.labels, self.class_names = encode_labels(values.to_pylist(), f"{place}, column '{name}'")
            names = getattr(self._data.features[name], "names", None)
            self.class_names = self.class_names or (tuple(names) if names else None)

    def __len__(self) -> int:
        return len(self._data)

    def encoded(self, i: int) -> Any:
        try:
            return tables.encoded_cell(self._images[i].column(0)[0], Path(self.place))
        except Exception as error:  # as in _load
            raise DataError(f"cannot read image {self.identity(i)}: {error}") from error

    def identity(self, i: int) -> str:
        return f"{self.place} row {i}"


def _validate(data: Any, column: str, place: str) -> None:
    # Arrow maps the file and trusts it: an offset that leads out of it would end the process when it is followed.
    try:
        data.data.table.column(column).validate(full=True)
    except Exception as error:  # as in _load
        raise DataError(f"{place} is damaged: {error}") from error


def _load(place: str, split: str | None) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "datasets") from error
    folder = Path(place).expanduser()
    try:
        found = datasets.load_from_disk(str(folder)) if is_saved(folder) else datasets.load_dataset(place)
    except Exception as error:  # the library passes on whatever its files, the network and Arrow raise
        hint = f"{folder} was not written by save_to_disk" if folder.exists() else "the hub cannot give it"
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"cannot open the data set {place} ({hint if not is_saved(folder) else 'torn?'}): {text[0]}"
        ) from error
    if not isinstance(found, dict):
        if split not in (None, str(found.split)):
            raise DataError(f"{place} has no split '{split}': it is one table; leave the split out")
        return found
    chosen = split or ("train" if "train" in found else next(iter(found), "") if len(found) == 1 else "")
    if chosen not in found:
        raise DataError(f"{place} has no split '{chosen}': {nearest(chosen, found)}")
    return found[chosen]
