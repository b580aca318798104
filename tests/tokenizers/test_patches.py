"""Patches equal a convolution with kernel = stride, for any number of axes."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.errors import ConfigError
from anyjepa.tokenizers.patches import PatchTokenizer

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@st.composite
def shapes(draw: st.DrawFn) -> tuple[list[int], list[int], int, int]:
    axes = draw(st.integers(1, 3))
    patch = [draw(st.integers(1, 4)) for _ in range(axes)]
    size = [p * draw(st.integers(1, 4)) for p in patch]
    return size, patch, draw(st.integers(1, 3)), draw(st.integers(1, 6))


@settings(max_examples=60, deadline=None)
@given(shapes())
@torch.no_grad()
def test_equals_a_convolution(shape: tuple[list[int], list[int], int, int]) -> None:
    size, patch, channels, dim = shape
    tokenizer = PatchTokenizer(size, patch, channels, dim)
    x = torch.randn(2, channels, *size)
    kernel = tokenizer.proj.weight.reshape(dim, channels, *patch)
    expected = CONVOLUTIONS[len(size)](x, kernel, tokenizer.proj.bias, stride=tuple(patch))
    assert tokenizer.layout.grid == tuple(expected.shape[2:])
    assert tokenizer.layout.tokens == math.prod(expected.shape[2:])
    torch.testing.assert_close(tokenizer(x), expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(shapes())
def test_a_cut_loses_nothing(shape: tuple[list[int], list[int], int, int]) -> None:
    size, patch, channels, dim = shape
    tokenizer = PatchTokenizer(size, patch, channels, dim)
    x = torch.arange(channels * math.prod(size), dtype=torch.float32).reshape(1, channels, *size)
    cut = tokenizer.cut(x)
    assert cut.shape == (1, tokenizer.layout.tokens, channels * math.prod(patch))
    assert torch.equal(cut.flatten().sort().values, x.flatten())


def test_raster_order() -> None:
    """Last axis fastest among the tokens; channel first inside a patch."""
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 4, 4)
    cut = PatchTokenizer((4, 4), (2, 2), 2, 3).cut(x)
    assert cut[0, 0].tolist() == [0, 1, 4, 5, 16, 17, 20, 21]
    assert cut[0, 1].tolist() == [2, 3, 6, 7, 18, 19, 22, 23]
    assert cut[0, 2].tolist() == [8, 9, 12, 13, 24, 25, 28, 29]


@torch.no_grad()
def test_embedding_a_few_patches() -> None:
    tokenizer = PatchTokenizer((4, 6), (2, 2), 3, 5)
    patches = tokenizer.cut(torch.randn(2, 3, 4, 6))
    index = torch.tensor([5, 0])
    torch.testing.assert_close(tokenizer.embed(patches[:, index]), tokenizer.embed(patches)[:, index])


@pytest.mark.parametrize(
    ("size", "patch", "hint"),
    [
        ((30, 30), (4, 4), "use size 28 or 32, or patch 3 or 5"),
        ((32, 30), (4, 4), "use size 28 or 32, or patch 3 or 5"),
        ((31,), (4,), "use size 28 or 32, or patch 1 or 31"),
        ((3, 8), (4, 4), "use size 4, or patch"),
        ((8, 8, 8), (2, 4, 3), "use size 6 or 9, or patch 2 or 4"),
        ((8,), (0,), "or patch 1 or 2"),
    ],
)
def test_bad_sizes_name_valid_ones(size: tuple[int, ...], patch: tuple[int, ...], hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        PatchTokenizer(size, patch, 3, 8)
    assert f"size {size} is not divisible by patch {patch}" in str(error.value)
    assert hint in str(error.value)


@settings(max_examples=100, deadline=None)
@given(side=st.integers(1, 60), patch=st.integers(1, 20))
def test_suggestions_work(side: int, patch: int) -> None:
    """Whatever the error proposes is accepted."""
    if side >= patch and side % patch == 0:
        assert PatchTokenizer((side,), (patch,), 1, 2).layout.tokens == side // patch
        return
    with pytest.raises(ConfigError) as error:
        PatchTokenizer((side,), (patch,), 1, 2)
    sizes, patches = str(error.value).split("use size ")[1].split(", or patch ")
    for good in map(int, sizes.split(" or ")):
        PatchTokenizer((good,), (patch,), 1, 2)
    for good in map(int, patches.split(" or ")):
        PatchTokenizer((side,), (good,), 1, 2)


def test_wrong_input_and_axes() -> None:
    tokenizer = PatchTokenizer((4, 8), (2, 2), 3, 8)
    for shape in ((2, 3, 8, 4), (2, 1, 4, 8), (2, 3, 4)):
        with pytest.raises(ConfigError) as error:
            tokenizer.cut(torch.zeros(shape))
        assert f"expected input (B, 3, 4, 8), got {shape}" in str(error.value)
    with pytest.raises(ConfigError, match=r"size \(4, 8\) has 2 axes, patch \(2,\) has 1"):
        PatchTokenizer((4, 8), (2,), 3, 8)
