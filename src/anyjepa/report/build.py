"""All sections of a page. What cannot be made becomes a sentence that says why."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation import ProbeResult
from anyjepa.report.curves import charts
from anyjepa.report.drawings import DRAWINGS
from anyjepa.report.neighbours import neighbour_section
from anyjepa.report.page import render
from anyjepa.report.record import Record, attempt, read_record
from anyjepa.report.samples import Samples, open_samples, reading_of, trained_on
from anyjepa.report.settings import settings
from anyjepa.report.summary import environment, facts, method_entry, sentence, verdict
from anyjepa.training.run_dir import write_whole

REPORT = "report.html"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Section:
    """One section: ``content`` for the macro ``template``, or ``missing``, the sentence that stands in its place."""

    name: str
    short: str
    title: str
    content: Any
    missing: str
    template: str


def write_report(
    run: str | Path,
    data: str | None = None,
    out: str | Path | None = None,
    *,
    images: int | None = None,
    progress: Progress | None = None,
    step: Callable[[str], None] | None = None,
) -> Path:
    """Write one HTML file about a run that needs nothing else: no network, no other file.

    Args:
        run: directory of a run, finished, interrupted or still training.
        data: samples to draw and to look for neighbours among; None: those of the run.
        out: the file; None: ``RUN/report.html``.
        images: among how many of them neighbours are looked for; None: up to 2000, fewer for large models.
        progress: called with (samples read, samples in all).
        step: called with the title of each section before it is made.

    Returns:
        The file. Of an unchanged run it is the same each time, but for the date at its end.

    Raises:
        CheckpointError: ``run`` is not a run directory.
        ConfigError: ``images`` is below 1, or ``out`` is a directory.
        DataError: ``data`` was named and cannot be read.
    """
    if images is not None and images < 1:
        raise ConfigError(f"images must be at least 1, got {images}; leave it out for the usual number")
    record = read_record(run)
    file = Path(out) if out is not None else record.path / REPORT
    if file.is_dir():
        raise ConfigError(f"{file} is a directory: name a file, e.g. {file / REPORT}")
    if data is not None:
        kind, reading = reading_of(record)
        kind.open(data, reading)
    head = verdict(record)
    sections = _sections(record, head.mark, data, images, progress, step or (lambda title: None))
    found = method_entry(record)
    page = render(
        name=record.name,
        verdict=head,
        facts=facts(record, data),
        entry=found,
        arxiv=re.findall(r"\d{4}\.\d{4,5}", found.citation) if found else [],
        sections=sections,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, page)
    return file


def _sections(
    record: Record,
    mark: int | None,
    data: str | None,
    images: int | None,
    progress: Progress | None,
    step: Callable[[str], None],
) -> list[Section]:
    made: list[Section] = []

    def add(short: str, title: str, make: Callable[[], Any], template: str | None = None) -> None:
        step(title)
        content, reason = attempt(make)
        made.append(
            Section(short.lower(), short, title, content, sentence(reason), template or short.lower())
        )

    add("Curves", "Curves", lambda: _curves(record, mark))
    step("Samples")
    samples, problem = attempt(lambda: _samples(record, data, images))

    def of_samples(make: Callable[[Any, Samples, int], Any]) -> Any:
        if samples is None:
            raise DataError(problem)
        return make(method, samples, seed)

    method: Any = record.method  # not None where there are samples
    seed = record.get("train.seed")
    seed = seed if isinstance(seed, int) else 0
    kind, _ = attempt(lambda: reading_of(record)[0])
    for drawing in DRAWINGS[kind.name if kind else "images"]:
        add(drawing.short, drawing.title, partial(of_samples, drawing.make), drawing.template)
    near = partial(neighbour_section, progress=progress)
    add("Neighbours", f"Which {kind.noun if kind else 'samples'} are alike", lambda: of_samples(near))
    add("Scores", "What the features are worth", lambda: _scores(record))
    add("Data", "The data", lambda: _data(record))
    add("Settings", "Settings", lambda: _settings(record))
    add("Environment", "Environment", lambda: _environment(record))
    return made


def _curves(record: Record, mark: int | None) -> Any:
    if record.log_problem:
        raise DataError(record.log_problem)
    found = charts(record.rows, mark)
    if not found:
        raise DataError(f"the log has {len(record.rows)} lines, but no numbers")
    return {"charts": found, "lines": len(record.rows), "mark": mark}


def _samples(record: Record, data: str | None, images: int | None) -> Samples:
    if record.method is None:
        raise DataError(f"there are no weights to look at: {record.method_problem}")
    return open_samples(record, record.method, data, images)


def _scores(record: Record) -> Any:
    result, problem = attempt(lambda: ProbeResult.load(record.path))
    if result is None:
        unread = "" if not (record.path / "probe.json").exists() else problem
        return {"command": f"anyjepa probe {record.path} --data LABELLED --test HELD_OUT", "problem": unread}
    header, rows = result.table()
    return {"result": result, "header": header, "rows": rows}


def _data(record: Record) -> Any:
    where, (kind, reading) = trained_on(record), reading_of(record)
    return {"where": where, "lines": str(kind.inspect(kind.open(where, reading), reading)).splitlines()}


def _settings(record: Record) -> Any:
    if not record.config:
        raise DataError("the run has no config.yaml and no checkpoint that holds its config")
    return settings(record)


def _environment(record: Record) -> Any:
    if not record.info:
        raise DataError("the run has no run.json, which says where it was trained")
    return environment(record.info)
