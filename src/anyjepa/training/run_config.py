"""The whole description of a run: what ``config.yaml`` in a run directory holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from anyjepa.config import from_dict, read_yaml, to_dict
from anyjepa.data.modalities import modality
from anyjepa.data.modality import Modality
from anyjepa.errors import ConfigError
from anyjepa.registry import entry
from anyjepa.training.config import OnlineProbeConfig, TrainConfig
from anyjepa.training.run_dir import write_whole


@dataclass(frozen=True)
class RunConfig:
    """Method, data and training of one run."""

    method: str
    """Name of the method."""
    model: Any
    """Its config, of the class that belongs to the method."""
    data: str
    """Where the data are: a path, or the name of a data set that is built in."""
    out: str
    """Run directory."""
    init: str | None = None
    """Weights to start from: whatever `anyjepa.load` reads; None: random ones. A resume takes the run's own checkpoints."""
    reading: Any = None
    """How samples become batches, of the class that belongs to the kind of data of the method; in files its key is the name of
    that kind, `images` for instance. None: its defaults."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How to train."""
    online_probe: OnlineProbeConfig = field(default_factory=OnlineProbeConfig)
    """What to score the encoder on while it trains."""

    def __post_init__(self) -> None:
        if self.reading is None:
            object.__setattr__(self, "reading", self.modality.config())

    @property
    def modality(self) -> Modality:
        """The kind of data the method is for."""
        return modality(entry(self.method).modality)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunConfig:
        """The config with these plain values.

        Raises:
            ConfigError: a key is unknown or missing, or a value has the wrong type.
        """
        given = {"model": {}, **values}
        kind = modality(entry(given["method"]).modality) if isinstance(given.get("method"), str) else None
        reading = kind.name if kind else "reading"
        for name in ("method", "data", "out"):
            if given.get(name) is None:
                keys = ("method", "model", "data", "out", "init", reading, "train", "online_probe")
                raise ConfigError(f"the key '{name}' is missing; a run has the keys {', '.join(keys)}")
        if kind is None:
            raise ConfigError(f"method must be the name of a method, got {given['method']!r}")
        for name, group in (("model", entry(given["method"]).config), (kind.name, kind.config)):
            if name in given and not isinstance(given[name], group):
                if not isinstance(given[name], dict):
                    raise ConfigError(f"{name} must be a group of keys, got {given[name]!r}")
                given[name] = from_dict(group, given[name], f"{name}.")
        if kind.name in given:
            given["reading"] = given.pop(kind.name)
        return from_dict(cls, given)

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read a YAML file; raises ConfigError as :meth:`from_mapping` and when there is no such file."""
        return cls.from_mapping(read_yaml(path))

    def plain(self) -> dict[str, Any]:
        """As nested plain values, which :meth:`from_mapping` makes an equal config of."""
        return {
            self.modality.name if key == "reading" else key: value for key, value in to_dict(self).items()
        }

    def save(self, path: str | Path) -> None:
        """Write a YAML file that :meth:`load` reads back to an equal config."""
        write_whole(Path(path), yaml.safe_dump(self.plain(), sort_keys=False))
