"""The official sampler, bit for bit: checksums of masks that the official collator drew (batch of 4, positions seeded with 0)."""

import zlib

import numpy as np
import pytest
import torch

from anyjepa.contract import Layout
from anyjepa.masking.multiblock import MultiBlockConfig
from anyjepa.masking.official import official_multiblock

# (grid side, min_keep): for steps 0..3 context length, target length, first token of sample 0's four targets, and the CRC-32
# of all context and all target indices as little-endian int64.
GOLDEN = {
    (14, 10): [
        (59, 36, [63, 70, 45, 49], 3947147741, 2809289982),
        (74, 35, [59, 7, 89, 77], 1060421839, 675119316),
        (70, 35, [50, 77, 86, 21], 2337944660, 195551746),
        (69, 30, [91, 19, 56, 19], 14998445, 1322427884),
    ],
    (8, 4): [
        (12, 12, [4, 8, 28, 27], 1830415649, 284213767),
        (15, 12, [19, 4, 26, 24], 2977881153, 676225539),
        (12, 12, [20, 3, 11, 11], 3949862578, 2982693983),
        (16, 9, [3, 26, 24, 36], 3501865532, 2742775328),
    ],
}


def checksum(indices: torch.Tensor) -> int:
    return zlib.crc32(np.ascontiguousarray(indices.numpy().astype("<i8")).tobytes())


@pytest.mark.parametrize("side, min_keep", GOLDEN)
def test_masks_are_those_of_the_official_collator(side, min_keep):
    positions = torch.Generator().manual_seed(0)
    config, layout = MultiBlockConfig(min_keep=min_keep, compat="official"), Layout((side, side))
    for step, (kept, size, first, context, targets) in enumerate(GOLDEN[side, min_keep]):
        masks = official_multiblock(
            config, layout, seed=0, step=step, index=np.arange(4), positions=positions
        )
        assert masks.context.shape == (4, kept) and masks.targets.shape == (4, 4, size)
        assert masks.targets[0, :, 0].tolist() == first
        assert checksum(masks.context) == context
        assert checksum(masks.targets) == targets
