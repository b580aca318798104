"""Names of ECG leads, the limb leads that follow from two others, and the constants of the databases of ECG-JEPA."""

from __future__ import annotations

import re
from dataclasses import dataclass

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The 12 leads in the usual order."""

LIMB: dict[str, tuple[float, float]] = {
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
"""Limb leads as a I + b II: III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 (Einthoven, Goldberger)."""

_SPELLINGS = {name.upper(): name for name in STANDARD_LEADS} | {
    "MLI": "I",
    "MLII": "II",
    "MLIII": "III",
    "DI": "I",
    "DII": "II",
    "DIII": "III",
    "D1": "I",
    "D2": "II",
    "D3": "III",
}
_EXACT = {name.upper() for name in STANDARD_LEADS}


def lead_name(name: str) -> str | None:
    """The standard name of a lead, or None when it is none of the twelve.

    Case, blanks and the words ``lead`` and ``ecg`` in front do not matter; ``MLII`` (modified lead of ambulatory recorders) is
    taken for II, ``DII`` (Spanish, Portuguese) too. ``-aVR`` is another lead than aVR.
    """
    bare = re.sub(r"^(ECG|LEAD)[\s_.:]*", "", name.strip().upper())
    bare = re.sub(r"^(ECG|LEAD)[\s_.:]*", "", bare)
    return _SPELLINGS.get(bare)


def is_modified(name: str) -> bool:
    """Whether a name is another spelling than the usual twelve, as ``MLII`` is."""
    return name.strip().upper() not in _EXACT


@dataclass(frozen=True)
class Database:
    """Mean and standard deviation of each of the standard leads, in mV."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def _database(std: str, mean: str | None = None) -> Database:
    values = tuple(float(v) for v in std.split())
    return Database(tuple(float(v) for v in mean.split()) if mean else (0.0,) * 12, values)


DATABASES: dict[str, Database] = {
    "mimic-iv-ecg": _database(
        ".155 .158 .166 .133 .141 .143 .207 .282 .284 .253 .222 .197",
        ".023 .015 -.007 -.019 .014 .004 -.018 -.004 .002 .017 .022 .022",
    ),
    "ptb-xl": _database(".191 .166 .173 .142 .149 .147 .235 .338 .335 .299 .294 .242"),
    "code-15": _database(".488 .450 .437 .416 .405 .370 .548 .639 .719 .695 .676 .639"),
    "st-petersburg": _database(".132 .370 .353 .215 .191 .356 .234 .320 .328 .290 .317 .337"),
    "chapman-shaoxing": _database(".140 .171 .145 .138 .114 .143 .218 .355 .366 .365 .332 .299"),
    "ningbo": _database(".145 .179 .159 .142 .123 .153 .228 .368 .377 .394 .405 .444"),
    "georgia": _database(".157 .178 .164 .147 .134 .153 .213 .285 .272 .245 .224 .209"),
    "ptb": _database(".642 .975 .953 .674 .651 .909 .643 .658 .668 .688 .648 .622"),
    "cpsc": _database(".214 .236 .221 .209 .196 .214 .336 .417 .449 .483 .523 .561"),
    "cpsc-extra": _database(".182 .183 .184 .163 .164 .165 .288 .370 .371 .380 .375 .392"),
}
"""Constants of the official code of ECG-JEPA, in the order of :data:`STANDARD_LEADS` (MIMIC stores aVF before aVL). Means within
0.025 mV of zero are taken as zero, but for MIMIC. PTB-XL: folds 1 to 8. CODE-15 and St Petersburg: after a high-pass filter of
0.5 Hz, without which training is unstable. (The official code normalises CPSC-Extra with the constants of CPSC, a slip.)"""
