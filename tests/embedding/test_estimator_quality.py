"""Does an Embedder read digits better for having been fitted, without labels, than one that has hardly begun?"""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from anyjepa import Embedder

pytestmark = pytest.mark.quality

OPTIONS = {
    "images": {"size": 16},
    "model": {
        "patch_size": 2,
        "masks": {"truncate": "pad"},
        "ema": [0.99, 1.0],
        "regularizer": {"kind": "vicreg", "weight": 0.2, "level": "both"},
    },
}


def score(steps: int, seed: int, out: Path) -> float:
    """Mean accuracy of neighbours over three folds of 900 digits; the encoder has seen the images, never a label."""
    digits = load_digits()
    images, labels = np.rint(digits.images[:900] * (255 / 16)).astype(np.uint8), digits.target[:900]
    fitted = Embedder(steps=steps, random_state=seed, device="cpu", options=OPTIONS, out=out).fit(images)
    neighbours = KNeighborsClassifier(10, metric="cosine", weights="distance")
    pipeline = make_pipeline(Embedder(pretrained=fitted.run_, device="cpu"), neighbours)
    return float(cross_val_score(pipeline, images, labels, cv=3).mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_fitting_helps(seed, tmp_path):
    trained, untrained = score(150, seed, tmp_path / "trained"), score(1, seed, tmp_path / "untrained")
    print(f"seed {seed}: trained {trained:.3f}, one step {untrained:.3f}")
    assert trained > untrained + 0.08
