"""What tests of quality share: the bare training loop, and how much alike predictions and targets are."""

import torch

from anyjepa import Batch
from anyjepa.training.optimizer import build_optimizer, set_schedules


def learn(method, draw, seed=0):
    """Train for as long as the method's config says; returns the loss of each step.

    ``draw(step)`` gives inputs and which samples they are.
    """
    optimizer, losses = build_optimizer(method), []
    for step in range(method.optim.steps):
        set_schedules(optimizer, method.optim, step + 1)
        inputs, index = draw(step)
        loss = method(Batch(inputs, torch.as_tensor(index), step, seed)).loss
        optimizer.zero_grad()
        loss.backward()
        if method.optim.clip:
            torch.nn.utils.clip_grad_norm_(method.parameters(), method.optim.clip)
        optimizer.step()
        method.after_step(step)
        losses.append(loss.item())
    return losses


def alike(guess, truth):
    """Cosine of all numbers of one with all of the other; 0 where one of them is constant 0."""
    guess, truth = guess.flatten(), truth.flatten()
    return float((guess @ truth) / (guess.norm() * truth.norm()).clamp(min=1e-9))
