"""Cutting a method into shards (FSDP2), one unit per repeated module."""

from __future__ import annotations

from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from anyjepa.contract import Method


def shard(method: Method, mesh: DeviceMesh) -> Method:
    """Shard all parameters of ``method`` over the 1-D ``mesh``, in place, and return it.

    The repeated modules are gathered one at a time when they run; what is left outside them is gathered for the whole
    forward. Both encoders are cut in the same way, so that the moving average of the target works shard by shard.
    Must come before the optimizer is built.
    """
    for unit in method.compile_units():
        fully_shard(unit, mesh=mesh)
    fully_shard(method, mesh=mesh)
    return method
