"""Relative positions: the buckets of the sheet, plain attention where tables are zero, and grids of any size."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa.nn.attention import Attention
from anyjepa.nn.relative import BUCKETS, OUTSIDE, RelativeAttention, RelativeBlock, RelativeEncoder, buckets
from anyjepa.tokenizers.patches import PatchTokenizer


def test_50_buckets_and_how_offsets_map_to_them() -> None:
    table = buckets((14, 14))
    assert table.shape == (197, 197) and len(table.unique()) == BUCKETS == 50
    assert (table[0] == OUTSIDE).all() and (table[:, 0] == OUTSIDE).all() and OUTSIDE == 49
    assert int(table[1:, 1:].max()) == 48
    steps = {0: 0, 1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 13: 3}
    for down, row in steps.items():
        for right, column in steps.items():
            # The query lies `down` rows below and `right` columns to the right of the first token.
            here = 1 + 14 * down + right
            assert table[here, 1] == 7 * (row + 3) + column + 3
            assert table[1, here] == 7 * (3 - row) + 3 - column


def test_windows_have_the_buckets_of_the_same_offsets_in_images() -> None:
    small, large = buckets((7, 7))[1:, 1:], buckets((14, 14))[1:, 1:]
    inside = (torch.arange(7)[:, None] * 14 + torch.arange(7)[None, :]).flatten() + 3 * 14 + 5
    assert torch.equal(small, large[inside][:, inside])


def test_with_zero_tables_it_is_plain_attention() -> None:
    torch.manual_seed(0)
    relative, plain = RelativeAttention(32, 4), Attention(32, 4)
    plain.load_state_dict({k: v for k, v in relative.state_dict().items() if k != "table"})
    x = torch.randn(2, 10, 32)
    torch.testing.assert_close(relative.answer(relative.project(x), buckets((3, 3))), plain(x))


@pytest.mark.parametrize("scaled", [False, True])
def test_logits_are_those_of_the_formula(scaled: bool) -> None:
    torch.manual_seed(0)
    module = RelativeAttention(32, 4, scaled=scaled)
    torch.nn.init.normal_(module.table)
    x, places = torch.randn(2, 10, 32), buckets((3, 3))
    q, k, v = (p.unflatten(-1, (4, 8)).transpose(1, 2) for p in module.project(x).chunk(3, dim=-1))
    factor = 8**-0.5
    logits = factor * q @ k.transpose(-1, -2)
    position = torch.einsum("bhid,dij->bhij", q, module.table[0][:, places])
    logits = logits + (factor if scaled else 1.0) * position
    expected = module.proj((F.softmax(logits, dim=-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(module.answer(module.project(x), places), expected)


def test_asked_tokens_are_rows_of_the_whole_answer() -> None:
    torch.manual_seed(0)
    block = RelativeBlock(32, 4)
    torch.nn.init.normal_(block.attn.table)
    x, places = torch.randn(3, 17, 32), buckets((4, 4))
    keep = torch.stack([torch.randperm(17)[:5] for _ in range(3)])
    expected = block(x, places).gather(1, keep.unsqueeze(-1).expand(-1, -1, 32))
    torch.testing.assert_close(block(x, places, keep=keep), expected)


def test_hidden_patches_cannot_be_seen() -> None:
    torch.manual_seed(0)
    encoder = RelativeEncoder(PatchTokenizer((16, 16), (4, 4), 1, 32), dim=32, depth=2, heads=4)
    patches, seen = torch.randn(2, 16, 16), torch.tensor([[0, 3, 7], [1, 2, 15]])
    before = encoder(patches, seen, grid=(4, 4))
    assert before.shape == (2, 17, 32)
    changed = torch.randn_like(patches).scatter(
        1, seen.unsqueeze(-1).expand(-1, -1, 16), patches.gather(1, seen.unsqueeze(-1).expand(-1, -1, 16))
    )
    assert torch.equal(before, encoder(changed, seen, grid=(4, 4)))
    assert not torch.equal(before, encoder(changed, grid=(4, 4)))
