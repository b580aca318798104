"""The head of a page: the verdict in plain words, and what was trained on what, how long and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from anyjepa.errors import AnyjepaError
from anyjepa.monitoring.doctor import (
    COMPLETE,
    DIMENSIONAL,
    DIVERGED,
    HEALTHY,
    NOT_LEARNING,
    TOO_EARLY,
    Diagnosis,
)
from anyjepa.monitoring.doctor import diagnose as diagnose_rows
from anyjepa.registry import Entry, entry
from anyjepa.report.record import Record, attempt
from anyjepa.training import RunConfig

MEANING = {
    HEALTHY: "Samples differ, in many directions, and predictions know their sample. It learns; whether the features suit "
    "your task is for a probe to say.",
    COMPLETE: "Different samples get the same representation: nothing about them is left to read.",
    DIMENSIONAL: "Only few directions of the representations are in use, or features have become copies of each other: much of "
    "what the encoder could say is lost.",
    NOT_LEARNING: "Predictions know the place of a token but nothing of the sample, or no gradient arrives.",
    DIVERGED: "The loss is not finite, or gradients exploded and nothing useful survived.",
    TOO_EARLY: "There is not enough to judge by yet. This is no bad sign.",
}
"""What each verdict means."""
MOOD = {HEALTHY: "good", TOO_EARLY: "open"}
"""Colour of a verdict; all others are bad."""


@dataclass(frozen=True)
class Verdict:
    """The doctor's word, ready to print."""

    title: str
    meaning: str
    mood: str
    since: str
    evidence: tuple[str, ...]
    advice: tuple[str, ...]
    mark: int | None


def verdict(record: Record) -> Verdict:
    """What the doctor says of the run's log, or that there is nothing to judge."""
    if record.log_problem:
        return Verdict(
            "No verdict", f"There is no log to judge by: {record.log_problem}.", "open", "", (), (), None
        )
    # Advice names values of the config, which may be of another version or changed by hand.
    usable, _ = attempt(lambda: RunConfig.from_mapping(record.config))
    said: Diagnosis = diagnose_rows(record.rows, record.config if usable else None)
    mood = MOOD.get(said.verdict, "bad")
    since = f"since step {said.step:,}, " if said.step < said.last else ""
    return Verdict(
        title=said.verdict.capitalize(),
        meaning=MEANING[said.verdict],
        mood=mood,
        since=f"{since}looked at up to step {said.last:,}",
        evidence=tuple(map(sentence, said.evidence)),
        advice=tuple(
            line.replace("anyjepa doctor RUN", f"anyjepa doctor {record.path}") for line in said.advice
        ),
        mark=said.step if mood == "bad" else None,
    )


def method_entry(record: Record) -> Entry | None:
    """What the registry knows of the run's method; None where it knows nothing."""
    name = record.get("method")
    try:
        return entry(name) if isinstance(name, str) else None
    except AnyjepaError:
        return None


def facts(record: Record, data: str | None = None) -> list[tuple[str, str]]:
    """Name and value of the few numbers one asks for first; what is not known is left out.

    Args:
        record: the run.
        data: where the pictures of the page come from; None: what was trained on.
    """
    found = [("Method", str(record.get("method") or "unknown"))]
    size, samples = record.get("model.size"), record.info.get("samples")
    if isinstance(size, str):
        found.append(("Size", size + _weights(record)))
    if record.get("data") is not None:
        found.append(("Data", _end(record.get("data"))))
    if isinstance(samples, int):
        found.append(("Images", f"{samples:,}"))
    found += _length(record, samples)
    if record.seconds is not None:
        found.append(("Training time", duration(record.seconds)))
    if place := where(record.info):
        found.append(("Hardware", place))
    if isinstance(record.info.get("started"), str):
        found.append(("Started", record.info["started"].replace("T", " ").replace("+00:00", " UTC")))
    if record.method is not None:
        found.append(("Pictures on this page", "of the training data" if data is None else _end(data)))
    return found


def sentence(text: str) -> str:
    """A text as a sentence of its own. A first word that is a name or a path stays as it is."""
    first = text.partition(" ")[0]
    start = text[:1].upper() if first.isalpha() else text[:1]
    return text and start + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _end(path: object) -> str:
    """The last two parts of a path; the whole of it stands in the settings."""
    parts = PurePath(str(path)).parts
    return str(path) if len(parts) < 4 else f"…/{'/'.join(parts[-2:])}"


def _weights(record: Record) -> str:
    if record.method is None:
        return ""
    count = sum(p.numel() for p in record.method.parameters() if p.requires_grad)
    return f" ({count / 1e6:,.1f} M trained weights)" if count >= 1e5 else f" ({count:,} trained weights)"


def _length(record: Record, samples: object) -> list[tuple[str, str]]:
    steps, batch = record.get("model.optim.steps"), record.get("train.batch_size")
    done = record.step or 0
    if record.rows:
        done = max(done, int(record.rows[-1]["step"]))
    found = [("Steps", f"{done:,}" + (f" of {steps:,}" if isinstance(steps, int) else ""))]
    if isinstance(steps, int) and done < steps:
        found[0] = ("Steps", f"{found[0][1]}: not finished")
    if isinstance(batch, int):
        passes = (
            f"; {done * batch / samples:,.1f} passes over the data"
            if isinstance(samples, int) and samples
            else ""
        )
        found.append(("Batch", f"{batch:,} samples{passes}"))
    return found


def duration(seconds: float) -> str:
    """Seconds in the two largest units.

    >>> duration(298.5)
    '4 min 58 s'
    """
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{seconds:.1f} s"


def where(info: Mapping[str, Any]) -> str:
    """The hardware in a few words; ``""`` where it was not recorded."""
    hardware = info.get("hardware")
    if not isinstance(hardware, Mapping):
        return ""
    gpus = hardware.get("gpus")
    if isinstance(gpus, list) and gpus:
        names = sorted({str(g) for g in gpus})
        return " and ".join(f"{gpus.count(name)} x {name}" for name in names)
    cpus = f"{hardware['cpus']} CPU cores, " if hardware.get("cpus") else ""
    return f"{cpus}{hardware.get('machine', '')}".strip(", ")


def environment(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All that ``run.json`` says, as names and values."""
    found: list[tuple[str, str]] = []
    for key, value in info.items():
        if isinstance(value, Mapping):
            found += [(f"{key}.{inner}", _plain(v)) for inner, v in value.items()]
        else:
            found.append((key, _plain(value)))
    return found


def _plain(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
