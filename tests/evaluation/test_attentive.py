"""The attentive probe: its attention against torch's, what it reads that a mean hides, and how its tokens are kept."""

import numpy as np
import pytest
import torch
from torch import nn

from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.attentive import AttentiveConfig, AttentivePool, fit_attentive
from anyjepa.evaluation.tokens import TokenBudget, TokenStore

QUICK = AttentiveConfig(lrs=(3e-3, 1e-2), weight_decays=(0.01,), min_steps=60, max_steps=60, batch_size=64)


def store(tokens: torch.Tensor, memory: int = 2**30) -> TokenStore:
    kept = TokenStore(len(tokens), TokenBudget(memory))
    for part in tokens.split(50):
        kept.add(part)
    return kept


def hidden(n: int, classes: int = 3, tokens: int = 9, dim: int = 16):
    """The class stands in one token, marked by its first feature; each token without the mark shows a class as well."""
    draw = np.random.default_rng(0)
    labels, where = np.arange(n) % classes, draw.integers(tokens, size=n)
    shown = draw.integers(classes, size=(n, tokens))
    shown[np.arange(n), where] = labels
    x = 0.1 * draw.normal(size=(n, tokens, dim))
    x[..., 1 : 1 + classes] += np.eye(classes)[shown]
    x[np.arange(n), where, 0] += 1.0
    return torch.from_numpy(x).float(), labels


def test_the_attention_is_torchs():
    torch.manual_seed(0)
    pool, tokens = AttentivePool(12, 3), torch.randn(5, 7, 12)
    nn.init.normal_(pool.query)
    nn.init.normal_(pool.value)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    query = pool.query.detach().flatten()
    with torch.no_grad():
        # Their query projection is the identity: our query is one that has been projected.
        theirs.in_proj_weight.copy_(
            torch.cat((torch.eye(12), pool.key.detach().flatten(0, 1), pool.value.detach().flatten(0, 1)))
        )
        theirs.in_proj_bias.zero_()
        theirs.out_proj.load_state_dict(pool.out.state_dict())
        expected, _ = theirs(query.expand(5, 1, 12), tokens, tokens)
        torch.testing.assert_close(pool(tokens), expected[:, 0], atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match="heads"):
        AttentivePool(10, 3)


def test_it_finds_what_the_mean_hides():
    tokens, labels = hidden(450)
    train, test = np.arange(300), np.arange(300, 450)
    kept = store(tokens)
    config = AttentiveConfig(lrs=(1e-2,), weight_decays=(0.01,), min_steps=300, max_steps=300, batch_size=64)
    found = fit_attentive(kept, train, labels[train], config=config).predict(kept, test)
    from anyjepa.evaluation.linear import fit_linear

    mean = tokens.mean(1).numpy()
    linear = fit_linear(mean[train], labels[train]).accuracy(mean[test], labels[test])
    accuracy = (found == labels[test]).mean()
    print(f"attentive {accuracy:.3f}, linear on the mean {linear:.3f}")
    assert accuracy > 0.85 and linear < 0.7


def test_shuffled_labels_score_at_chance_and_a_seed_fixes_everything():
    tokens, labels = hidden(600)
    kept, shuffled = store(tokens), np.random.default_rng(1).permutation(labels)
    train, test = np.arange(300), np.arange(300, 600)
    state = torch.get_rng_state()
    first = fit_attentive(kept, train, shuffled[train], config=QUICK).predict(kept, test)
    again = fit_attentive(kept, train, shuffled[train], config=QUICK).predict(kept, test, batch_size=33)
    assert (first == again).all() and torch.equal(state, torch.get_rng_state())
    assert abs((first == shuffled[test]).mean() - 1 / 3) < 0.1


def test_measured_values_are_read_too():
    tokens, _ = hidden(300)
    kept, truth = store(tokens), 50.0 + tokens[:, :, 5].mean(1).double().numpy()
    train, test = np.arange(200), np.arange(200, 300)
    found = fit_attentive(kept, train, truth[train], config=QUICK).predict(kept, test)
    assert np.corrcoef(found, truth[test])[0, 1] > 0.9 and abs(found.mean() - 50) < 0.1


def test_tokens_in_a_file_are_those_in_memory():
    tokens = torch.randn(120, 4, 6)
    memory, file = store(tokens), store(tokens, memory=10)
    rows = np.array([3, 119, 0, 60])
    assert isinstance(file._data, np.memmap) and not isinstance(memory._data, np.memmap)
    assert torch.equal(memory.take(rows), file.take(rows)) and len(file) == 120 and file.width == 6
    torch.testing.assert_close(memory.take(rows), tokens[rows], rtol=1e-3, atol=1e-3)


def test_views_are_answered_one_by_one_and_averaged():
    tokens, labels = hidden(90)
    noise = torch.randn(2, *tokens.shape, generator=torch.Generator().manual_seed(3))
    views = TokenStore(90, TokenBudget(), views=3)
    views.add(torch.cat((noise[0], tokens, noise[1]), dim=1))
    torch.testing.assert_close(views.middle(np.arange(90)), tokens.half().float())
    middle, inside, outside = store(tokens), np.arange(60), np.arange(60, 90)
    fitted = fit_attentive(views, inside, labels[inside], config=QUICK)
    alone = fit_attentive(middle, inside, labels[inside], config=QUICK)
    torch.testing.assert_close(fitted.head.state_dict(), alone.head.state_dict())
    each = [
        alone.head((part[outside].half().float() - alone.mean) / alone.scale).softmax(dim=1)
        for part in (noise[0], tokens, noise[1])
    ]
    expected = torch.stack(each).mean(0).argmax(1).numpy()
    np.testing.assert_array_equal(fitted.predict(views, outside), expected)
    assert (expected != alone.predict(middle, outside)).any()


def test_memory_is_shared_by_all_stores():
    budget = TokenBudget(100)
    assert budget.grant(60) and not budget.grant(60) and budget.grant(40) and not budget.grant(1)


def test_tokens_too_large_and_disks_too_full_are_named(monkeypatch):
    with pytest.raises(DataError, match="65504"):
        store(torch.full((3, 2, 2), 1e6))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anyjepa.evaluation.tokens.tempfile.TemporaryFile", full)
    with pytest.raises(DataError, match=r"No space left.*TMPDIR"):
        store(torch.zeros(3, 2, 2), memory=0)


@pytest.mark.parametrize("options", [dict(lrs=()), dict(batch_size=0), dict(max_steps=0)])
def test_impossible_settings_are_refused(options):
    with pytest.raises(ConfigError, match="at least"):
        AttentiveConfig(**options)
