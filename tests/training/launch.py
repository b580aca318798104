"""A training in several processes, started as a script because Lightning starts the script again for each of them."""

from __future__ import annotations

import json
import sys

import torch
from toy import Toy, ToyConfig, toy_loader

from anyjepa.schedules import OptimConfig
from anyjepa.training import TrainConfig, train


def main(want: dict) -> None:
    optim = OptimConfig(steps=want["steps"], warmup_steps=3, lr=0.01, start_lr=0.001, clip=want["clip"])
    config = TrainConfig(
        batch_size=8,
        accelerator="cpu",
        devices=want["devices"],
        strategy=want["strategy"],
        accumulate=want["accumulate"],
        log_every=1,
        checkpoint_every=4,
        keep_checkpoints=9,
    )
    loader = toy_loader(want["steps"], accumulate=want["accumulate"])
    train(
        Toy(ToyConfig(width=want["width"], optim=optim)), loader, config, want["run"], resume=want["resume"]
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(json.loads(sys.argv[1]))
