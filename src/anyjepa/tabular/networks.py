"""The networks of the comparison as modules on rows or on tokens: MLP, ResNet, DCNv2, FT-Transformer, AutoInt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import ConfigError, MissingExtraError, nearest
from anyjepa.tabular.adapters import make_adapter
from anyjepa.tabular.crossing import DCNv2
from anyjepa.tabular.inputs import Columns, Inputs
from anyjepa.tabular.interacting import AutoInt

NETWORKS = ("mlp", "resnet", "dcnv2", "ft-transformer", "autoint")
"""Their names."""
_ON_COLUMNS = ("ft-transformer", "autoint")


class OfRows(nn.Module):
    """A network that reads rows as they are stored: numbers, codes, NaN.

    Args:
        columns: of the training rows.
        body: the network.
        apart: it takes numbers and codes; else one vector.
    """

    def __init__(self, columns: Columns, body: nn.Module, apart: bool) -> None:
        super().__init__()
        self.columns, self.body, self.apart = columns, body, apart

    def forward(self, rows: Float[Tensor, "B d"]) -> Float[Tensor, "B K"]:
        if not self.apart:
            return self.body(self.columns.vector(rows))
        codes = self.columns.codes(rows) if self.columns.categories else None
        return self.body(self.columns.numeric(rows) if self.columns.numbers else None, codes)


class OfTokens(nn.Module):
    """A network behind an adapter that is trained with it.

    Args:
        adapter: from tokens to one number a column.
        body: the network.
        apart: it takes numbers and codes, of which there are none here; else one vector.
    """

    def __init__(self, adapter: nn.Module, body: nn.Module, apart: bool) -> None:
        super().__init__()
        self.adapter, self.body, self.apart = adapter, body, apart

    def forward(self, tokens: Float[Tensor, "B d h"]) -> Float[Tensor, "B K"]:
        vector = self.adapter(tokens)
        return self.body(vector, None) if self.apart else self.body(vector)


def make_network(kind: str, settings: Mapping[str, Any], inputs: Inputs, outputs: int) -> nn.Module:
    """A fresh network for inputs like these. Weights are drawn from the global generator of torch.

    Args:
        kind: one of :data:`NETWORKS`.
        settings: see :mod:`anyjepa.tabular.settings`.
        inputs: training samples, for the columns and whether values lack.
        outputs: K.

    Raises:
        ConfigError: the kind is unknown.
        MissingExtraError: rtdl_revisiting_models is needed and not installed.
    """
    if kind not in _MAKE:
        raise ConfigError(f"unknown network '{kind}': {nearest(kind, NETWORKS)}")
    apart = kind in _ON_COLUMNS
    if inputs.tokens is not None:
        _, columns, width = inputs.tokens.shape
        adapter = make_adapter(settings["adapter"], columns, width)
        return OfTokens(adapter, _MAKE[kind](settings, columns, [], outputs), apart)
    seen = Columns.of(inputs)
    if apart:
        return OfRows(seen, _MAKE[kind](settings, seen.numbers, seen.categories, outputs), True)
    return OfRows(seen, _MAKE[kind](settings, seen.width, [], outputs), False)


def _rtdl() -> Any:
    try:
        import rtdl_revisiting_models
    except ImportError:
        raise MissingExtraError("rtdl_revisiting_models", "models") from None
    return rtdl_revisiting_models


def _mlp(s: Mapping[str, Any], width: int, categories: list[int], outputs: int) -> nn.Module:
    return _rtdl().MLP(
        d_in=width, d_out=outputs, n_blocks=s["layers"], d_block=s["width"], dropout=s["dropout"]
    )


def _resnet(s: Mapping[str, Any], width: int, categories: list[int], outputs: int) -> nn.Module:
    return _rtdl().ResNet(
        d_in=width,
        d_out=outputs,
        n_blocks=s["layers"],
        d_block=s["width"],
        d_hidden_multiplier=s["hidden_factor"],
        dropout1=s["dropout"],
        dropout2=s["residual_dropout"],
    )


def _dcnv2(s: Mapping[str, Any], width: int, categories: list[int], outputs: int) -> nn.Module:
    return DCNv2(
        width,
        outputs,
        cross_layers=s["cross_layers"],
        deep_layers=s["layers"],
        deep_width=s["width"],
        dropout=s["dropout"],
        stacked=s["stacked"],
    )


def _ft_transformer(s: Mapping[str, Any], numbers: int, categories: list[int], outputs: int) -> nn.Module:
    return _rtdl().FTTransformer(
        n_cont_features=numbers,
        cat_cardinalities=categories,
        d_out=outputs,
        n_blocks=s["layers"],
        d_block=s["width"],
        attention_n_heads=s["heads"],
        attention_dropout=s["attention_dropout"],
        ffn_d_hidden=None,
        ffn_d_hidden_multiplier=s["hidden_factor"],
        ffn_dropout=s["dropout"],
        residual_dropout=0.0,
    )


def _autoint(s: Mapping[str, Any], numbers: int, categories: list[int], outputs: int) -> nn.Module:
    return AutoInt(
        numbers,
        categories,
        outputs,
        layers=s["layers"],
        width=s["width"],
        heads=s["heads"],
        dropout=s["dropout"],
    )


_MAKE: dict[str, Callable[[Mapping[str, Any], int, list[int], int], nn.Module]] = {
    "mlp": _mlp,
    "resnet": _resnet,
    "dcnv2": _dcnv2,
    "ft-transformer": _ft_transformer,
    "autoint": _autoint,
}
