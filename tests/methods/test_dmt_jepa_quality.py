"""Does DMT-JEPA learn what its targets say? On real digits, in seconds, and what it is when the targets are mixed up."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa import create
from anyjepa.contract import Batch
from anyjepa.data import ImageConfig, ImageDataset
from anyjepa.methods.dmt_jepa import DMTJEPA

pytestmark = pytest.mark.quality
STEPS, BATCH = 60, 32
MODEL = dict(
    size="nano",
    dim=32,
    depth=2,
    heads=2,
    predictor_width=32,
    predictor_depth=2,
    image_size=[8, 8],
    channels=1,
    patch_size=1,
    ema=[0.99, 1.0],
    optim={"steps": STEPS},
)


class Shuffled(DMTJEPA):
    """Each image is asked for the targets of another one."""

    def make_targets(self, *arguments):
        return super().make_targets(*arguments).roll(1, 0)


def explained(kind: type[DMTJEPA], seed: int, **fields) -> float:
    """How much of the targets of held-out digits is predicted, beyond what is the same for all digits at each place; 0..1."""
    train, test = (ImageDataset.open(f"digits:{part}", ImageConfig(), 8) for part in ("train", "test"))
    method = kind(create("dmt-jepa", **MODEL | fields | {"seed": seed}).config)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=2e-3)
    for step in range(STEPS):
        index = torch.arange(step * BATCH, (step + 1) * BATCH) % len(train)
        loss = method(Batch(train.draw(step, index.numpy(), seed), index, step, seed)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(step)
    method.eval()
    x = test.evaluation(range(200))
    with torch.inference_mode():
        output = method(x)
        h = F.layer_norm(method.encode(x).tokens, (32,))
        usual = method.aggregate(h).mean(0)[output.masks.targets]
    error = (output.predicted - output.target).square().mean()
    return 1 - float(error / (usual - output.target).square().mean())


def test_targets_of_new_digits_are_predicted():
    found = explained(DMTJEPA, 0)
    print(f"explained: {found}")
    assert found > 0.2


def test_mixed_up_targets_are_not():
    found = explained(Shuffled, 0)
    print(f"explained with shuffled targets: {found}")
    assert found < 0.05
