"""How often the doctor is right: trainings whose state is known by construction, and what it says of them.

    python benchmarks/doctor_table.py --seeds 0 1 2 3 4

The trainings are those of tests/monitoring/states.py (crops of two photos, synthetic signals), and healthy ones under other
regularizers. A verdict is taken after 100, 150, 200 and 240 steps; each line of the log in between is judged too.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import torch

from anyjepa.monitoring.doctor import VERDICTS, Doctor

ROOT = Path(__file__).parent
RESULT = ROOT / "results" / "doctor.json"
sys.path.insert(0, str(ROOT.parent / "tests" / "monitoring"))

from states import STATES, build, rows  # noqa: E402

HEALTHY = {
    "healthy": STATES["healthy"],
    "healthy, SIGReg": lambda modality, seed: build(
        modality, seed=seed, regularizer={"kind": "sigreg", "level": "both", "weight": 0.02}
    ),
    "healthy, VISReg": lambda modality, seed: build(
        modality, seed=seed, regularizer={"kind": "visreg", "level": "both", "weight": 0.2}
    ),
}
SICK = {name: make for name, make in STATES.items() if name != "healthy"}
AT = (100, 150, 200, 240)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    counts: dict[int, dict[str, Counter[str]]] = {step: {} for step in AT}
    condemned = 0
    for name, make in (HEALTHY | SICK).items():
        for modality in ("images", "signals"):
            for seed in seeds:
                log = rows(make(modality, seed), modality, seed=seed)
                doctor = Doctor()
                said = {row["step"]: doctor.see(row) for row in log}
                for step in AT:
                    verdict = said[max(s for s in said if s <= step)]
                    counts[step].setdefault(name, Counter())[verdict] += 1
                if name in HEALTHY:
                    condemned += bool(set(said.values()) - {"healthy", "too early to say"})
                print(
                    name, modality, seed, [said[max(s for s in said if s <= step)] for step in AT], flush=True
                )
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
        "seeds": seeds,
        "healthy runs condemned at any step": condemned,
        "after": {step: {name: dict(c) for name, c in table.items()} for step, table in counts.items()},
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    for step, table in counts.items():
        print(
            f"\nafter {step} steps\n| true state | "
            + " | ".join(VERDICTS)
            + " |\n|"
            + "---|" * (1 + len(VERDICTS))
        )
        for name, counter in table.items():
            print(f"| {name} | " + " | ".join(str(counter[v] or "") for v in VERDICTS) + " |")


if __name__ == "__main__":
    main()
