"""AdamW of a method, and the schedules written into it before each step."""

from __future__ import annotations

from torch.optim import AdamW, Optimizer

from anyjepa.contract import Method
from anyjepa.schedules import OptimConfig, learning_rate, weight_decay


def build_optimizer(method: Method) -> AdamW:
    """AdamW over ``method.parameter_groups()``, fused where all parameters live on devices that have a fused kernel.

    Learning rate and weight decay are zero until :func:`set_schedules` writes those of a step.
    """
    groups = [group for group in method.parameter_groups() if group["params"]]
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    optim = method.optim
    fused = devices <= {"cpu", "cuda"}
    return AdamW(groups, lr=0.0, betas=optim.betas, eps=optim.eps, weight_decay=0.0, fused=fused)


def set_schedules(optimizer: Optimizer, optim: OptimConfig, step: int) -> None:
    """Write the learning rate and the weight decay of optimizer step ``step`` = 1, 2, ... into all groups.

    Groups without ``decay`` keep a weight decay of zero.
    """
    rate, decay = learning_rate(optim, step), weight_decay(optim, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
        group["weight_decay"] = decay if group["decay"] else 0.0
