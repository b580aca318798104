"""The whole description of a run: what ``config.yaml`` in a run directory holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from anyjepa.config import from_dict, read_yaml, to_yaml
from anyjepa.data import ImageConfig
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
    images: ImageConfig = field(default_factory=ImageConfig)
    """How images become batches."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How to train."""
    online_probe: OnlineProbeConfig = field(default_factory=OnlineProbeConfig)
    """What to score the encoder on while it trains."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunConfig:
        """The config with these plain values.

        Raises:
            ConfigError: a key is unknown or missing, or a value has the wrong type.
        """
        values = {"model": {}, **values}
        for name in ("method", "data", "out"):
            if values.get(name) is None:
                raise ConfigError(
                    f"the key '{name}' is missing; a run has the keys {', '.join(f.name for f in fields(cls))}"
                )
        plain = from_dict(cls, values)
        return replace(plain, model=from_dict(entry(plain.method).config, plain.model, "model."))

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read a YAML file; raises ConfigError as :meth:`from_mapping` and when there is no such file."""
        return cls.from_mapping(read_yaml(path))

    def save(self, path: str | Path) -> None:
        """Write a YAML file that :meth:`load` reads back to an equal config."""
        write_whole(Path(path), to_yaml(self))
