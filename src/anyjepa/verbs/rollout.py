"""``anyjepa rollout RUN --env NAME``"""

from __future__ import annotations

import argparse

HELP = "let a trained policy act in a simulator: success with its interval, returns, films"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Who acts, where, how often, and what is written."""
    add = parser.add_argument
    add("run", nargs="?", help="a run of a policy, one of its checkpoints or an export; not with --policy")
    add(
        "--env",
        required=True,
        help="simulator: pusht, pusht-keypoints, push2d, reach2d, halfcheetah, hopper, adroit-door, or an id of Gymnasium",
    )
    add(
        "--policy",
        choices=("random", "zero", "expert"),
        help="instead of a run: floor and ceiling to compare with",
    )
    add("--episodes", type=int, default=50, help="of each seed (default: 50)")
    add("--seed", "--seeds", type=int, nargs="+", default=[0], dest="seeds", help="each names its own starts")
    add("--max-steps", type=int, help="longest episode; default that of the simulator")
    add("--parallel", type=int, default=16, help="most episodes at once (default: 16)")
    add(
        "--execution",
        choices=("open-loop", "ensemble"),
        default="open-loop",
        help="carry chunks of actions out one after the other, or average the overlapping ones",
    )
    add("--horizon", type=int, help="actions of a chunk that are carried out before the next; default all")
    add(
        "--video",
        metavar="DIR",
        help="folder for films of the first episodes and a sheet of pictures of them",
    )
    add("--filmed", type=int, default=4, help="episodes that are filmed (default: 4)")
    add("--out", help="a JSON file for the result; that of a run is written to RUN/rollout-ENV.json anyway")


def run(
    run: str | None,
    env: str,
    policy: str | None,
    episodes: int,
    seeds: list[int],
    max_steps: int | None,
    parallel: int,
    execution: str,
    horizon: int | None,
    video: str | None,
    filmed: int,
    out: str | None,
) -> int:
    """Act, and print what came of it."""
    import json
    from pathlib import Path
    from typing import Any

    from anyjepa.errors import ConfigError
    from anyjepa.rollout import evaluate
    from anyjepa.training.run_dir import write_whole
    from anyjepa.verbs.counting import Counting

    if (run is None) == (policy is None):
        raise ConfigError("name either a run or --policy random, zero or expert")
    acting: Any = policy
    name = None
    if run is not None:
        from anyjepa.policies import load_policy

        acting = load_policy(run, execution=execution, horizon=horizon)
        name = f"{run} ({execution})"
    result = evaluate(
        acting,
        env,
        episodes,
        seeds,
        parallel=parallel,
        max_steps=max_steps,
        video=video,
        filmed=filmed,
        name=name,
        progress=Counting(),
    )
    text = json.dumps(result.as_json(), indent=1)
    targets = [Path(out)] if out else []
    if run is not None and Path(run).is_dir():
        targets.append(Path(run) / f"rollout-{env.replace('/', '-')}.json")
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, text)
    print(result)
    if video:
        print(f"  films    {video}, and sheet.png of them")
    return 0
