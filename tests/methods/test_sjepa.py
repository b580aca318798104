"""Oracles of the S-JEPA sheet that are about the method as a whole, and its three classifiers."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa import Batch, create
from anyjepa.config import from_dict, to_dict
from anyjepa.contract import Masks
from anyjepa.errors import ConfigError
from anyjepa.methods.sjepa import SJEPA, SJEPAConfig
from anyjepa.methods.sjepa_heads import SJEPAClassifier

NAMES = ("Fp1", "Fp2", "C3", "C4", "Cz", "O1", "O2", "Oz")
PLACES = [
    [-0.029, 0.084, -0.007],
    [0.030, 0.085, -0.007],
    [-0.065, -0.012, 0.064],
    [0.067, -0.011, 0.064],
    [0.0, -0.009, 0.1],
    [-0.029, -0.112, 0.009],
    [0.030, -0.112, 0.009],
    [0.0, -0.115, 0.015],
]
TINY = dict(
    size="nano", dim=32, heads=4, hidden=48, dropout=0.0, channels=NAMES, positions=PLACES, samples=408
)


def build(**fields):
    return create("sjepa", **(TINY | fields))


def count(module):
    return sum(p.numel() for p in module.parameters())


def disturbed(method):
    """Weights far from the start, where much is nearly zero."""
    with torch.no_grad():
        for p in method.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return method


@pytest.fixture(scope="module")
def paper():
    """The model of the paper: 62 channels, windows of 4.1875 s."""
    places = torch.rand(62, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    return create("sjepa", positions=places.tolist(), samples=536)


def test_parameter_counts_of_the_paper(paper):
    parts = (paper.tokenizer, paper.positions, paper.context_encoder, paper.predictor)
    assert [count(part) for part in parts] == [13_840, 1_860, 2_249_344, 1_191_808]
    assert sum(map(count, parts)) == 3_456_852
    assert all(not p.requires_grad for p in paper.target.parameters())


def test_parameter_counts_of_the_classifiers(paper):
    for scheme in ("pre-local", "post-local"):
        assert count(SJEPAClassifier(paper, 2, scheme)) == 16_142
    contextual = SJEPAClassifier(paper, 2, "contextual")
    assert count(contextual) == 3_456_852 - count(paper.predictor) + 2_302
    assert sum(p.numel() for p in contextual.new_parameters()) == 252 + 4 * 4 * 64 * 2 + 2


def test_defaults_are_those_of_the_paper(paper):
    c = paper.config
    assert (c.dim, c.spatial, c.depth, c.heads, c.hidden, c.predictor_depth) == (64, 30, 8, 8, 2048, 4)
    assert c.dropout == 0.1 and c.distance == "l1" and c.masks.reach == pytest.approx(0.06)
    assert c.local == ((8, 32, 8), (16, 2, 2), (32, 2, 2), (64, 2, 2), (64, 2, 2))
    assert SJEPAConfig(positions=c.positions).fit((62, 2072)).samples == 2072
    assert "62 channels x 4 tokens (4.1875 s at 128 Hz)" in c.summary()
    longer = from_dict(SJEPAConfig, {"positions": [list(p) for p in c.positions]}).fit((62, 2048))
    assert "the last 104 of 2048 samples unused" in longer.summary()
    assert from_dict(SJEPAConfig, to_dict(c)) == c


@pytest.mark.parametrize("join", [True, False])
def test_the_loss_is_the_equation_written_out_sample_by_sample(join):
    method = disturbed(build(predictor_join=join)).eval()
    x = torch.randn(6, 8, 408)
    output = method(Batch(x, torch.arange(6), step=3))
    assert output.masks.context_valid is not None, "the batch must have masks of several sizes"
    code, hidden = method.positions(3), method.encode(x).tokens
    tokens = method.tokenizer(x) + code
    total, elements = 0.0, 0
    for b in range(6):
        seen = output.masks.context[b][output.masks.context_valid[b]]
        target = output.masks.targets[b, 0].unique()
        context = method.context_encoder(tokens[b : b + 1, seen])
        sequence = torch.cat((context, code[None, target]), dim=1) if join else code[None, target]
        for layer in method.predictor.layers:
            sequence = layer(sequence, context)
        predicted = method.predictor.norm(sequence)[0, -len(target) :]
        total += F.l1_loss(predicted, hidden[b, target], reduction="sum")
        elements += predicted.numel()
    torch.testing.assert_close(output.loss, total / elements, rtol=2e-5, atol=1e-6)


def test_hidden_channels_cannot_reach_the_context():
    method, x = build(), torch.randn(4, 8, 408)
    first = method(x)
    changed = x.clone()
    for b in range(4):
        changed[b, (first.masks.targets[b] // 3).flatten().unique()] += torch.randn(408)
    second = method(changed)
    valid = first.masks.context_valid
    assert valid is not None and torch.equal(first.context[valid], second.context[valid])
    assert torch.equal(first.predicted, second.predicted)
    assert not torch.equal(first.target, second.target)


def test_targets_do_not_depend_on_the_mask_nor_on_dropout():
    method, x = build(dropout=0.3), torch.randn(2, 8, 408)
    whole = torch.arange(24).expand(2, -1)
    for cut in (9, 15):
        output = method(x, Masks(whole[:, :cut], whole[:, None, cut:]))
        torch.testing.assert_close(output.target[:, 0], method.encode(x).tokens[:, cut:])
    with pytest.raises(ConfigError, match="one target block per sample, got 2"):
        method(x, Masks(whole[:, :4], whole[:, 4:].unflatten(1, (2, 10))))
    teacher = build(dropout=0.3, target_dropout=True)
    masks = Masks(whole[:, :9], whole[:, None, 9:])
    assert not torch.equal(teacher(x, masks).target, teacher(x, masks).target)


def test_gradients_reach_the_shared_parts_and_not_the_target_encoder():
    method = build()
    method(torch.randn(4, 8, 408)).loss.backward()
    shared = [*method.tokenizer.parameters(), *method.positions.parameters()]
    trained = [*shared, *method.context_encoder.parameters(), *method.predictor.parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert all(p.grad is None for p in method.target.parameters())


def test_only_the_encoder_has_a_moving_average():
    method = build(ema=(0.9, 0.9))
    assert {name.split(".")[0] for name, _ in method.target.copy.named_parameters()} == {"layers", "norm"}
    before = [p.clone() for p in method.target.parameters()]
    with torch.no_grad():
        for p in method.context_encoder.parameters():
            p.add_(1.0)
    method.after_step(0)
    for old, new in zip(before, method.target.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)


def test_permuted_channels_permute_the_tokens():
    method, x = disturbed(build()), torch.randn(2, 8, 408)
    order = torch.randperm(8)
    other = method.with_channels([NAMES[i] for i in order])
    expected = method.eval().encode(x).tokens.unflatten(1, (8, 3))[:, order].flatten(1, 2)
    torch.testing.assert_close(other.eval().encode(x[:, order]).tokens, expected)


def test_a_window_of_another_length_is_encoded():
    method = build().eval()
    z = method.encode(torch.randn(2, 8, 152), encoder="context")
    assert z.layout.grid == (8, 1) and z.tokens.shape == (2, 8, 32)
    with pytest.raises(ConfigError, match="100 samples is too short"):
        method.encode(torch.randn(2, 8, 100))
    with pytest.raises(ConfigError, match="for other channels use with_channels"):
        method.encode(torch.randn(2, 7, 408))


def test_fewer_channels_keep_their_trained_codes():
    method = disturbed(build()).eval()
    other = method.with_channels(["oz", "C3", "cz"])
    assert other.input_shape() == (3, 408) and not other.training
    assert torch.equal(other.positions.table, method.positions.table[[7, 2, 4]])
    assert other.config.positions == tuple(tuple(PLACES[i]) for i in (7, 2, 4))
    assert other.config.coordinate_scale == method.config.coordinate_scale == 0.115
    x = torch.randn(2, 3, 408)
    assert torch.isfinite(other(x).loss) and other.encode(x).tokens.shape == (2, 9, 32)
    other.positions.table.data.zero_()
    assert method.positions.table.abs().sum() > 0, "the copies share nothing"


def test_new_channels_get_the_code_of_their_place_on_the_old_scale():
    method = disturbed(build())
    fresh, far = build(), [0.0, 0.02, 0.2]
    places = [PLACES[2], far, PLACES[4]]
    other = method.with_channels(["C3", "Far", "Middle"], places)
    assert torch.equal(other.positions.table[0], method.positions.table[2])
    # `far` lies outside of the old electrodes: with a scale taken anew, Cz's code would not be that of the training.
    torch.testing.assert_close(other.positions.table[2], fresh.positions.table[4])
    computed = method.with_channels(["C3", "Cz"], [PLACES[2], PLACES[4]], rows="computed")
    torch.testing.assert_close(computed.positions.table, fresh.positions.table[[2, 4]])
    with pytest.raises(ConfigError, match="no code for the channels Far"):
        method.with_channels(["C3", "Far"], [PLACES[2], far], rows="strict")
    with pytest.raises(ConfigError, match="no code for the channels Nowhere"):
        method.with_channels(["C3", "Cz", "Nowhere"], [PLACES[2], PLACES[4], []])


def test_a_model_for_other_channels_survives_a_file():
    other = disturbed(build()).with_channels(["C3", "Far"], [PLACES[2], [0.0, 0.02, 0.1]]).eval()
    again = SJEPA(from_dict(SJEPAConfig, to_dict(other.config)))
    again.load_state_dict(other.state_dict())
    x = torch.randn(2, 2, 280)
    assert torch.equal(again.eval().encode(x).tokens, other.encode(x).tokens)


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"positions": None}, "must know where on the head each channel is"),
        ({"positions": PLACES[:7]}, "8 names and 7 positions"),
        ({"positions": [[v * 1000 for v in p] for p in PLACES]}, "divide millimetres by 1000"),
        ({"positions": [*PLACES[:7], [0.1, 0.1]]}, r"positions\[7\] must be x, y, z"),
        ({"positions": [PLACES[0], *[[]] * 7]}, "at least two channels"),
        ({"channels": ["C3", "c3", *NAMES[2:]]}, "'c3' is there twice"),
        ({"samples": 151}, "151 samples is too short"),
        ({"spatial": 28}, "multiple of 6"),
        ({"heads": 5}, "divisible by 5 heads"),
        ({"local": [[8, 32, 8], [16, 2, 2]]}, "16 wide, the tokens are dim=32"),
        ({"size": "huge"}, "Valid: base, nano"),
        ({"dropout": 1.0}, "dropout must lie"),
        ({"regularizer": {"kind": "vicreg", "on": "target"}}, "needs target=online"),
    ],
)
def test_impossible_settings(fields, says):
    with pytest.raises(ConfigError, match=says):
        build(**fields)
    with pytest.raises(ConfigError, match="needs windows"):
        SJEPAConfig(positions=tuple(map(tuple, PLACES))).fit((3, 32, 32))


@pytest.mark.parametrize("scheme", ["contextual", "post-local", "pre-local"])
def test_classifiers_compute_what_the_paper_draws(scheme):
    method, x = disturbed(build(dropout=0.2)), torch.randn(3, 8, 280)
    model = SJEPAClassifier(method, 5, scheme, samples=280)
    mix = lambda v: torch.einsum("bc...,vc->bv...", v, model.mixtures.weight)  # noqa: E731
    bias = model.mixtures.bias
    if scheme == "pre-local":
        features = method.tokenizer(mix(x) + bias[:, None])
    else:
        method.eval()
        tokens = method.encode(x, encoder="context").tokens if scheme == "contextual" else method.tokenizer(x)
        features = mix(tokens.unflatten(1, (8, 2))) + bias[:, None, None]
    torch.testing.assert_close(model(x), model.classes(features.flatten(1)))


def test_new_layers_alone_or_everything():
    method, x = build(), torch.randn(4, 8, 408)
    model = SJEPAClassifier(method, 3, "contextual").train()
    F.cross_entropy(model(x), torch.tensor([0, 1, 2, 0])).backward()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"mixtures", "classes"} and not model.pretrained.training
    model.unfreeze()
    F.cross_entropy(model(x), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad is not None for p in model.parameters()) and model.pretrained.training
    assert all(p.grad is None for p in method.parameters()), "the pretrained model stays as it is"
    with pytest.raises(ConfigError, match="did you mean 'pre-local'"):
        SJEPAClassifier(method, 2, "prelocal")
    with pytest.raises(ConfigError, match="at least 2 classes"):
        SJEPAClassifier(method, 1)
    with pytest.raises(ConfigError, match="expected input"):
        model(x[:, :, :300])
