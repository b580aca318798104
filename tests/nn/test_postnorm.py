"""The two halves of PyTorch's transformer against ``nn.Transformer`` itself, and their padding."""

import torch
from torch import nn

from anyjepa.nn.postnorm import PostNormEncoder, PostNormPredictor, initialise_postnorm


def halves():
    encoder, predictor = PostNormEncoder(16, 3, 4, 32), PostNormPredictor(16, 2, 4, 32)
    initialise_postnorm(encoder)
    initialise_postnorm(predictor)
    return encoder.eval(), predictor.eval()


def test_same_numbers_as_torch():
    encoder, predictor = halves()
    whole = nn.Transformer(16, 4, 3, 2, 32, batch_first=True).eval()
    whole.encoder.load_state_dict(encoder.state_dict())
    whole.decoder.load_state_dict(predictor.state_dict())
    x, queries = torch.randn(2, 5, 16), torch.randn(2, 3, 16)
    context = encoder(x)
    torch.testing.assert_close(context, whole.encoder(x))
    expected = whole.decoder(torch.cat((context, queries), dim=1), context)[:, -3:]
    torch.testing.assert_close(predictor(context, queries), expected)
    assert encoder(x, layer=0).shape == x.shape and not torch.equal(encoder(x, layer=1), context)


def test_initial_weights_have_the_spread_of_xavier():
    encoder = PostNormEncoder(64, 1, 8, 2048)
    initialise_postnorm(encoder)
    weight = encoder.layers[0].linear1.weight
    assert abs(weight).max() <= (6 / (64 + 2048)) ** 0.5 < 1.02 * abs(weight).max()


def test_padding_changes_nothing():
    encoder, predictor = halves()
    for join in (True, False):
        predictor.join = join
        x, queries = torch.randn(1, 5, 16), torch.randn(1, 3, 16)
        alone = predictor(encoder(x), queries)
        valid = torch.tensor([[True] * 5 + [False] * 2])
        asked = torch.tensor([[True] * 3 + [False]])
        context = encoder(torch.cat((x, torch.randn(1, 2, 16)), dim=1), valid=valid)
        padded = torch.cat((queries, torch.randn(1, 1, 16)), dim=1)
        found = predictor(context, padded, valid=valid, asked=asked)
        torch.testing.assert_close(found[:, :3], alone)
