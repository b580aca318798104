"""On real turntable views: the next view is predicted better with the true actions than with actions of other draws.

The targets are those of a frozen random encoder: they stand still, so seconds are enough to see it. What longer training does
to the representations is in docs/seq-jepa.md.
"""

import numpy as np
from learning import learn

from anyjepa.data.modalities import modality
from anyjepa.data.views_config import ViewsConfig
from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.evaluation.sequence_features import part
from anyjepa.methods.seq_jepa import SeqJEPA, SeqJEPAConfig
from anyjepa.schedules import OptimConfig

STEPS, BATCH, OBJECTS = 200, 64, 3
OPTIM = OptimConfig(
    steps=STEPS,
    warmup_steps=20,
    start_lr=1e-4,
    lr=3e-3,
    final_lr=1e-4,
    weight_decay=1e-3,
    final_weight_decay=1e-3,
)


def loss_of(path, chance, seed):
    """Mean loss of the last steps."""
    config = ViewsConfig(size=16, observed=(1, 1), chance_actions=chance)
    source = modality("views").open(path, config)
    rows = np.flatnonzero(source.objects < OBJECTS)
    held = rows % 72 // 3 % 4 == 3
    train = part(ViewsDataset(source, config), rows[~held])
    method = SeqJEPA(
        SeqJEPAConfig(
            size="nano",
            channels=1,
            image_size=(16, 16),
            action_dim=2,
            stem="half",
            widths=(32, 64),
            blocks=(1, 1),
            action_width=16,
            depth=1,
            predictor_hidden=256,
            dropout=0.0,
            zero_init=False,
            target="frozen",
            distance="l2",
            seed=seed,
            optim=OPTIM,
        )
    )
    draws = np.random.default_rng(seed)

    def draw(step):
        index = draws.integers(0, len(train.dataset), BATCH)
        return train.dataset.draw(step, index, seed), index

    losses = learn(method, draw, seed)
    return float(np.mean(losses[-20:]))


def test_true_actions_tell_the_next_view(require_data):
    path = require_data("views-coil20") / "COIL20.mat"
    true, chance = ([loss_of(path, wrong, seed) for seed in (0, 1)] for wrong in (False, True))
    assert max(true) < min(chance) and np.mean(true) < 0.97 * np.mean(chance), (true, chance)
