"""Numbers that tell learning from collapse, of tokens grouped by their place.

A token of a transformer says where it lies as well as what is there. A collapsed encoder still tells places apart, so its
tokens vary and have a rank; what it has lost is the difference between samples. All statistics are therefore taken of what is
left of a token when the mean over the samples at its place is taken off: its *content*.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MOST_SAMPLES = 128
"""Samples of a batch that are looked at: more would cost time and change nothing."""
MOST_TOKENS = 1024
"""Tokens the rank is taken of."""


@dataclass(frozen=True)
class Places:
    """Tokens and the group each belongs to.

    Attributes:
        place: (S,) group of each token, 0..G-1.
        count: (G,) tokens of each group.
        usable: (S,) whether the group has at least two tokens: alone at its place, a token has no content.
    """

    place: Int[Tensor, "S"]
    count: Float[Tensor, "G"]
    usable: Bool[Tensor, "S"]

    @classmethod
    def of(cls, place: Int[Tensor, "S"]) -> Places:
        """Groups by the numbers in ``place``."""
        count = torch.bincount(place).float()
        return cls(place, count, count[place] >= 2)

    def content(self, z: Float[Tensor, "S D"]) -> Float[Tensor, "S D"]:
        """``z`` without the mean of its place."""
        return z - self.mean(z)[self.place]

    def mean(self, z: Float[Tensor, "S D"]) -> Float[Tensor, "G D"]:
        """Mean of each group; zeros where it is empty."""
        total = torch.zeros(len(self.count), z.shape[1], device=z.device).index_add_(0, self.place, z)
        return total / self.count.clamp(min=1.0).unsqueeze(1)

    def inflation(self) -> Float[Tensor, "S"]:
        """n / (n - 1) of each token's group: a mean that contains the token itself is too near to it."""
        n = self.count[self.place]
        return n / (n - 1).clamp(min=1.0)


def rank(content: Float[Tensor, "S D"]) -> float:
    """RankMe: exp of the entropy of the normalised singular values (arXiv 2210.02885, equation 1); between 1 and min(S, D).

    The paper takes it of the vectors as they are, here they are centred: a common mean would count as one more direction.
    Tokens that are all alike have rank 0; it is NaN where a value, or the square of one, is not finite.
    """
    z = content[:: max(1, -(-len(content) // MOST_TOKENS))].float()
    gram = z.T @ z if z.shape[0] >= z.shape[1] else z @ z.T
    if not bool(torch.isfinite(gram).all()):
        return float("nan")
    singular = torch.linalg.eigvalsh(gram).clamp(min=0.0).sqrt()
    total = singular.sum()
    if not total > 0:
        return 0.0
    share = singular / total
    return float(torch.special.entr(share).sum().exp())


def off_diagonal(content: Float[Tensor, "S D"]) -> float:
    """Root mean square of the correlations between different features: 0 independent, 1 all the same."""
    d = content.shape[1]
    if d < 2:
        return 0.0
    scale = content.square().mean(0).sqrt()
    z = content / scale.clamp(min=1e-12)
    correlation = z.T @ z / len(z)
    off = correlation.square().sum() - correlation.diagonal().square().sum()
    return float((off / (d * (d - 1))).clamp(min=0.0).sqrt())


def pair_cosine(z: Float[Tensor, "S D"], places: Places) -> float:
    """Mean cosine of all pairs of different tokens at the same place. Near 1: samples can hardly be told apart."""
    unit = torch.nn.functional.normalize(z, dim=1)
    total = torch.zeros(len(places.count), z.shape[1], device=z.device).index_add_(0, places.place, unit)
    own = torch.zeros_like(places.count).index_add_(0, places.place, unit.square().sum(1))
    pairs = (places.count * (places.count - 1)).sum()
    return float((total.square().sum() - own.sum()) / pairs.clamp(min=1.0))


def spread(
    z: Float[Tensor, "S D"], places: Places, sample: Int[Tensor, "S"], prefix: str
) -> dict[str, float]:
    """What is known of one set of tokens: std, content, rank, pooled_rank, correlation and cosine, each under ``prefix``.

    ``std`` is the root mean square over features of the standard deviation of the content; ``content`` is its variance as a
    share of the variance of the tokens around their common mean, the differences between places included; ``pooled_rank`` is
    the rank of the content averaged over the tokens of each sample, which is what a probe reads.

    Args:
        z: tokens.
        places: where they lie.
        sample: the sample of each, 0..B-1.
        prefix: whose tokens they are.
    """
    content = places.content(z)[places.usable]
    if not len(content):
        return {}
    inner = (content.square().mean(1) * places.inflation()[places.usable]).mean()
    whole = z[places.usable].var(0).mean()
    return {
        f"{prefix}_std": float(inner.sqrt()),
        f"{prefix}_content": float((inner / whole.clamp(min=1e-20)).clamp(max=1.0)),
        f"{prefix}_rank": rank(content),
        f"{prefix}_pooled_rank": rank(Places.of(sample[places.usable]).mean(content)),
        f"{prefix}_correlation": off_diagonal(content),
        f"{prefix}_cosine": pair_cosine(z, places),
    }


def prediction(
    predicted: Float[Tensor, "S D"], target: Float[Tensor, "S D"], places: Places
) -> dict[str, float]:
    """How much of the targets' content is predicted.

    ``prediction_gain`` is 1 - (squared error) / (squared error of the mean of the other samples at the same place): 0 is no
    better than knowing the place alone, 1 is perfect. ``prediction_match`` is the correlation between the content of
    predictions and targets: it does not mind their scale, and rises first.
    """
    keep = places.usable
    if not bool(keep.any()):
        return {}
    content = places.content(target)[keep]
    mean_error = (content * places.inflation()[keep].unsqueeze(1)).square().sum()
    error = (predicted - target)[keep].square().sum()
    guess = places.content(predicted)[keep]
    scale = (guess.square().sum() * content.square().sum()).sqrt()
    return {
        "prediction_gain": float(1.0 - error / mean_error.clamp(min=1e-20)),
        "prediction_match": float((guess * content).sum() / scale.clamp(min=1e-20)),
    }
