"""Oracles of the DMT-JEPA sheet that are about the method as a whole."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa import create
from anyjepa.errors import ConfigError
from anyjepa.methods.dmt_jepa import DMTJEPA, DMTJEPAConfig
from anyjepa.nn.aggregation import LocalAggregationHead

TINY = dict(
    dim=32, depth=3, heads=2, predictor_width=16, predictor_depth=3, image_size=[32, 32], patch_size=4
)
WRAP = {"borders": "wrap"}


def build(**fields):
    return create("dmt-jepa", **(TINY | fields))


def big(**fields):
    """A 14x14 grid."""
    return build(**(dict(image_size=[28, 28], patch_size=2, dim=16, neighbours=WRAP) | fields))


def features(b, n, d, seed=0):
    return F.layer_norm(torch.randn(b, n, d, generator=torch.Generator().manual_seed(seed)), (d,))


def stirred(method):
    """The same with a target head far from its start, so that every part of it counts."""
    with torch.no_grad():
        for p in method.head_target.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return method


@pytest.mark.parametrize("truncate", ["random", "pad"])
def test_without_head_and_neighbours_it_is_ijepa_bit_for_bit(truncate):
    fields = TINY | dict(masks={"truncate": truncate}, regularizer={"kind": "vicreg"})
    plain = create("ijepa", **fields)
    off = create("dmt-jepa", **fields, target_kind="patch", context_head="none")
    optimizers = [torch.optim.AdamW([p for p in m.parameters() if p.requires_grad]) for m in (plain, off)]
    for step in range(4):
        x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        outputs = [m(x) for m in (plain, off)]
        assert torch.equal(outputs[0].loss, outputs[1].loss)
        for method, optimizer, output in zip((plain, off), optimizers, outputs, strict=True):
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
            method.after_step(step)
    a, b = plain.state_dict(), off.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_encoder_and_predictor_start_as_those_of_ijepa():
    plain, method = create("ijepa", **TINY).state_dict(), build().state_dict()
    assert all(torch.equal(value, method[name]) for name, value in plain.items())


def test_the_head_of_the_paper():
    with torch.device("meta"):
        method = create("dmt-jepa", size="base", target="stopgrad")
    assert sum(p.numel() for p in method.head.parameters()) == 14_177_280
    assert isinstance(method.head, LocalAggregationHead) and method.head.blocks[0].heads == 12


def test_targets_of_an_image_do_not_depend_on_the_others():
    method = stirred(big())
    h = features(4, 196, 16)
    changed = h.clone()
    changed[1] = features(1, 196, 16, seed=1)[0]
    a, b = method.aggregate(h), method.aggregate(changed)
    assert torch.equal(a[[0, 2, 3]], b[[0, 2, 3]]) and not torch.equal(a[1], b[1])


def test_the_slip_of_the_official_query_reaches_49_patches():
    method = stirred(big(query="official"))
    h = features(4, 196, 16)
    changed = h.clone()
    changed[1] = features(1, 196, 16, seed=1)[0]
    moved = (method.aggregate(h)[0] != method.aggregate(changed)[0]).any(-1).nonzero()[:, 0]
    assert moved.tolist() == list(range(1, 196, 4)) and len(moved) == 49


def test_the_official_query_of_wanted_patches_is_that_of_the_whole_image():
    method = stirred(build(query="official"))
    h = features(3, 64, 32)
    wanted = torch.tensor([[5, 1, 60], [2, 3, 4], [63, 0, 9]])
    every = method.aggregate(h)
    for b in range(3):
        torch.testing.assert_close(method.aggregate(h, wanted)[b], every[b, wanted[b]])


def test_alone_in_a_batch_both_queries_agree():
    own, official = stirred(build()), stirred(build(query="official"))
    h = features(1, 64, 32)
    assert torch.equal(own.aggregate(h), official.aggregate(h))


@pytest.mark.parametrize("borders", ["wrap", "clip"])
def test_a_constant_image_has_one_target(borders):
    """With clipped borders in the corners another one: attention over three neighbours and the query is not that over four."""
    method = stirred(build(neighbours={"borders": borders}))
    h = features(1, 1, 32).expand(2, 64, -1)
    found = method.aggregate(h)
    corner = torch.zeros(64, dtype=torch.bool)
    corner[[0, 7, 56, 63]] = True
    torch.testing.assert_close(found[:, ~corner], found[:1, 1:2].expand(2, 60, -1))
    torch.testing.assert_close(found[:, corner], found[:1, :1].expand(2, 4, -1))
    if borders == "wrap":
        torch.testing.assert_close(found[0, 0], found[0, 1])


@pytest.mark.parametrize("kind", ["dmt", "mean"])
def test_only_wanted_patches_are_computed_and_they_are_the_same(kind):
    method = build(target_kind=kind)
    h = features(2, 64, 32)
    wanted = torch.tensor([[0, 9, 63, 7], [1, 2, 3, 56]])
    every = method.aggregate(h)
    found = method.aggregate(h, wanted)
    torch.testing.assert_close(found, torch.stack([every[b, wanted[b]] for b in range(2)]))


def test_a_patch_is_not_in_its_own_target():
    """Changing a patch while keeping its direction, its neighbours' choice and the mean of the image moves others only."""
    method = stirred(build(neighbours=WRAP))
    h = features(1, 64, 32)
    changed = h.clone()
    changed[0, 27] *= 1.5  # the same cosines
    changed[0, 60] -= (
        changed[0, 27] - h[0, 27]
    )  # the same mean; patch 60 is no neighbour of patch 27 or of its neighbours
    before, after = method.aggregate(h)[0], method.aggregate(changed)[0]
    torch.testing.assert_close(before[27], after[27], rtol=1e-4, atol=1e-5)
    assert (before - after).abs().amax(-1).gt(1e-3).any()


def test_all_neighbours_are_the_whole_window():
    """With k_num = 8 nothing is chosen: the order of similarity must not matter."""
    method = stirred(build(neighbours=WRAP | {"k_num": 8}))
    h = features(2, 64, 32)
    chosen = method.table.expand(2, -1, -1)
    query = h.mean(1, keepdim=True).expand(-1, 64, -1)
    torch.testing.assert_close(
        method.aggregate(h), method.head_target.copy.of_neighbours(query, h, chosen), rtol=1e-4, atol=1e-5
    )


def test_the_variant_without_parameters_is_the_mean_of_four():
    method = build(target_kind="mean", context_head="none", neighbours=WRAP)
    assert method.head is None and method.head_target is None
    h = features(1, 64, 32)
    around = h[0, method.table[20]]
    best = F.cosine_similarity(h[0, 20], around, dim=-1).topk(4).indices
    torch.testing.assert_close(method.aggregate(h)[0, 20], F.layer_norm(around[best].mean(0), (32,)))


def test_the_head_starts_equal_and_follows_the_online_one():
    method = build(optim={"steps": 100})
    start = [p.clone() for p in method.head_target.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(start, method.head.parameters(), strict=True))
    with torch.no_grad():
        for p in method.head.parameters():
            p.add_(1.0)
    method.after_step(0)
    for before, now in zip(start, method.head_target.parameters(), strict=True):
        torch.testing.assert_close(now, before + (1 - 0.996), rtol=1e-6, atol=1e-6)


def test_target_rows_are_normalised_at_the_start():
    target = build()(torch.randn(8, 3, 32, 32)).target
    assert target.mean(-1).abs().max() < 1e-5
    assert target.square().mean(-1).sub(1).abs().max() < 1e-2


def test_gradients_reach_encoder_predictor_and_online_head_only():
    method = build()
    method(torch.randn(4, 3, 32, 32)).loss.backward()
    trained = (method.context_encoder, method.predictor, method.head)
    assert all(p.grad is not None for part in trained for p in part.parameters())
    assert all(p.grad is None for p in (*method.target.parameters(), *method.head_target.parameters()))


def test_hidden_pixels_cannot_reach_the_context():
    method = build().eval()
    x = torch.randn(4, 3, 32, 32)
    first = method(x)
    changed = x.clone()
    for b in range(4):
        for token in first.masks.targets[b].flatten().tolist():
            row, column = token // 8 * 4, token % 8 * 4
            changed[b, :, row : row + 4, column : column + 4] += 10.0
    second = method(changed)
    assert torch.equal(first.predicted, second.predicted) and not torch.equal(first.target, second.target)


def test_both_heads_are_in_the_weights():
    method = build()
    with torch.no_grad():
        for p in (*method.head.parameters(), *method.head_target.parameters()):
            p.add_(torch.randn_like(p))
    again = build(seed=1)
    again.load_state_dict(method.state_dict())
    x = torch.randn(3, 3, 32, 32)
    output = method(x)
    assert torch.equal(output.loss, again(x, output.masks).loss)
    assert {"head.norm.weight", "head_target.copy.norm.weight"} <= method.state_dict().keys()
    assert not {"table", "inside"} & method.state_dict().keys()


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(neighbours={"k_num": 9}), "k_num from 1 to 8"),
        (dict(neighbours={"borders": "warp"}), "borders"),
        (dict(query="offical"), "query"),
    ],
)
def test_impossible_settings_name_what_would_work(fields, message):
    with pytest.raises(ConfigError, match=message):
        build(**fields)


def test_without_a_config_it_is_the_paper():
    with torch.device("meta"):
        method = DMTJEPA(DMTJEPAConfig(target="stopgrad"))
    assert method.input_shape() == (3, 224, 224) and method.config.neighbours.k_num == 4
    assert "the 4 most similar of 3x3 neighbours" in method.config.summary()
