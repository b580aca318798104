"""Do the probes rank as they should on real digits? A small encoder, three seeds of every probe; and shuffled labels."""

from dataclasses import replace

import numpy as np
import pytest

from anyjepa.data import open_source
from anyjepa.demo import TEST, TRAIN, setting
from anyjepa.evaluation import AttentiveConfig, FinetuneConfig, probe
from anyjepa.pretraining import pretrain

pytestmark = pytest.mark.quality
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    base = setting(tmp_path_factory.mktemp("quality") / "run", steps=150)
    model = replace(base.model, patch_size=4, dim=64, depth=2, heads=2, predictor_depth=1)
    config = replace(base, model=model)
    assert pretrain(config).finished
    return config.out


def test_stronger_probes_read_more(run):
    probes = ("linear", "ridge", "attentive", "finetune")
    result = probe(run, TRAIN, TEST, probes=probes, seeds=SEEDS, baselines=())
    print(result)
    score = {s.probe: s.mean for s in result.row("pretrained").scores}
    assert score["attentive"] > score["linear"] - 0.01
    assert score["finetune"] > score["linear"] + 0.01


def test_a_few_labels_are_read_by_ridge(run):
    result = probe(run, TRAIN, TEST, probes=("ridge",), per_class=5, seeds=SEEDS)
    print(result)
    assert min(result.row("pretrained").score("ridge").values) > 0.5


def test_shuffled_labels_are_not_read(run, tmp_path):
    source = open_source("digits", labels=True)
    images = np.stack([source.read(i)[0].numpy() for i in range(600)])
    labels = np.random.default_rng(0).permutation(source.labels[:600])
    np.savez(tmp_path / "shuffled.npz", images=images, labels=labels)
    result = probe(
        run,
        tmp_path / "shuffled.npz",
        probes=("knn", "linear", "ridge", "attentive", "finetune"),
        seeds=SEEDS,
        baselines=("raw",),
        finetune=FinetuneConfig(max_steps=40, min_steps=40),
        attentive=AttentiveConfig(max_steps=40, min_steps=40),
    )
    print(result)
    # 3 x 120 answers at a chance of about 0.11: their mean lies within 0.06 of it.
    assert max(s.mean for row in result.rows for s in row.scores) < 0.18
