"""``anyjepa demonstrate ENV --out demos.npz``"""

from __future__ import annotations

import argparse

HELP = "record demonstrations of a scripted expert in a simulator, for policies to learn from"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where, how many, and with how much noise."""
    add = parser.add_argument
    add("env", help="simulator with an expert: pusht, pusht-keypoints, pusht-near, push2d, reach2d, ...")
    add("--out", required=True, help="a file .npz, or a new folder for a LeRobot data set (v2.1)")
    add("--episodes", type=int, default=200, help="successful episodes to keep (default: 200)")
    add("--seed", type=int, default=0, help="names all starts and all noise")
    add(
        "--noise",
        type=float,
        default=0.01,
        help="of what is carried out, as a share of the range of an action; recorded is what was meant (default: 0.01)",
    )


def run(env: str, out: str, episodes: int, seed: int, noise: float) -> int:
    """Play, write, and say what was written."""
    from pathlib import Path

    from anyjepa.errors import ConfigError
    from anyjepa.rollout import DemonstrationConfig, demonstrations, open_world, write_lerobot, write_npz
    from anyjepa.verbs.counting import Counting

    path = Path(out)
    if path.suffix not in ("", ".npz"):
        raise ConfigError(f"--out {out}: name a file that ends in .npz, or a folder")
    if path.exists() and (path.is_dir() or path.suffix == ""):
        raise ConfigError(f"--out {out} is there already: name a new folder, or a file that ends in .npz")
    config = DemonstrationConfig(episodes=episodes, seed=seed, noise=noise)
    world = open_world(env)
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths: list[int] = []
    measures: list[float] = []

    def counted():  # type: ignore[no-untyped-def]
        for episode in demonstrations(world, config, Counting()):
            lengths.append(episode.steps)
            if episode.measure is not None:
                measures.append(episode.measure)
            yield episode

    try:
        if path.suffix:
            write_npz(path, counted(), world.facts.about)
        else:
            write_lerobot(path, counted(), world.facts)
    finally:
        world.close()
    print(f"{len(lengths)} episodes of {world.facts.name}: {world.facts.about}")
    print(
        f"  {sum(lengths)} actions, {min(lengths)} to {max(lengths)} an episode, {world.facts.fps:g} a second"
    )
    for name, shape in world.facts.parts.items():
        print(f"  observation.{name}: {' x '.join(map(str, shape))}")
    print(f"  action: {world.facts.actions} ({world.facts.units})")
    print(f"written to {path}")
    return 0
