"""Columns of a table as tokens: one per number, per category and per missing value, plus learned registers in front.

Numbers and categories as in FT-Transformer (arXiv 2106.11959). A row travels as floats (B, 1, d): numbers scaled, categories as
their codes 0, 1, ..., NaN where a value is missing. A code that is no category of its column is taken for missing as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import ConfigError


class ColumnTokenizer(nn.Module):
    """Rows (B, 1, d) to tokens (B, R + d, D), without positions.

    A number x of column j becomes ``x * weight_j + bias_j``, a category its row of a table, plus ``bias_j``, a missing value a
    learned vector, plus ``bias_j``. That vector starts at zero: until it has learned, a missing number counts as 0, the mean
    of its column where columns are standardised.

    Args:
        cardinalities: for each column its number of categories, 0 where it holds numbers.
        dim: width D.
        registers: [REG] tokens R.
        types: learned vectors for the two kinds of columns, where a table has both.
        index: a learned vector for each column.
        missing: without it, missing values and unknown categories are an error.
        numbers_first: tokens of numbers stand before those of categories, and the vectors of the two kinds are nevertheless
            given in the order of the columns (official code). Else tokens have the order of the columns.
    """

    numbers: Tensor
    categories: Tensor
    sizes: Tensor
    starts: Tensor
    order: Tensor
    place: Tensor
    kinds: Tensor

    def __init__(
        self,
        cardinalities: Sequence[int],
        dim: int,
        *,
        registers: int = 1,
        types: bool = True,
        index: bool = False,
        missing: bool = True,
        numbers_first: bool = False,
    ) -> None:
        super().__init__()
        sizes = torch.tensor(list(cardinalities))
        numbers, categories = (sizes == 0).nonzero().flatten(), (sizes > 0).nonzero().flatten()
        self.columns, self.registers_first, self.dim = len(sizes), registers, dim
        joined = torch.cat((numbers, categories))
        order = joined if numbers_first else torch.arange(len(sizes))
        starts = sizes[categories].cumsum(0) - sizes[categories]
        place = torch.argsort(joined)[order]
        for name, buffer in {
            "numbers": numbers,
            "categories": categories,
            "sizes": sizes[categories],
            "starts": starts,
            "order": order,
            "place": place,
            "kinds": (sizes > 0).long(),
        }.items():
            self.register_buffer(name, buffer, persistent=False)
        self.shuffled = bool((place != torch.arange(len(sizes))).any())
        self.weight = nn.Parameter(torch.empty(len(numbers), dim)) if len(numbers) else None
        self.embedding = nn.Embedding(int(sizes.sum()), dim) if len(categories) else None
        self.bias = nn.Parameter(torch.empty(len(sizes), dim))
        self.missing = nn.Parameter(torch.zeros(len(sizes), dim)) if missing else None
        self.registers = nn.Parameter(torch.empty(registers, dim)) if registers else None
        both = len(numbers) > 0 and len(categories) > 0
        self.types = nn.Embedding(2, dim) if types and both else None
        self.index = nn.Embedding(len(sizes), dim) if index else None
        self.initialise()

    def initialise(self) -> None:
        """U(-1/sqrt(D), 1/sqrt(D)), the start of ``nn.Linear``, for numbers, categories, biases and registers alike: what a
        category says is then as loud as what a number says."""
        table = None if self.embedding is None else self.embedding.weight
        for parameter in (self.weight, table, self.bias, self.registers):
            if parameter is not None:
                nn.init.uniform_(parameter, -1 / math.sqrt(self.dim), 1 / math.sqrt(self.dim))

    def forward(self, x: Float[Tensor, "B 1 d"]) -> Float[Tensor, "B N D"]:
        """Tokens of all columns behind the registers.

        Raises:
            ConfigError: there are missing values or unknown categories, and no vector for them.
        """
        row = x[:, 0]
        absent = torch.isnan(row)
        parts = []
        if self.weight is not None:
            known = torch.where(absent, 0.0, row)[:, self.numbers]
            parts.append(known.unsqueeze(-1) * self.weight)
        if self.embedding is not None:
            # NaN is no whole number: it is replaced before the conversion, whose result would be undefined.
            codes = torch.where(absent, -1.0, row)[:, self.categories].round()
            strange = (codes < 0) | (codes >= self.sizes)
            absent = absent.index_copy(1, self.categories, strange)
            codes = torch.where(strange, 0.0, codes).long()
            parts.append(self.embedding(codes + self.starts))
        tokens = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        if self.shuffled:
            tokens = tokens[:, self.place]
        if self.missing is None:
            self._refuse(absent)
        else:
            tokens = torch.where(absent[:, self.order].unsqueeze(-1), self.missing[self.order], tokens)
        tokens = tokens + self.bias[self.order]
        if self.types is not None:
            tokens = tokens + self.types(self.kinds)
        if self.index is not None:
            tokens = tokens + self.index(self.order)
        if self.registers is not None:
            tokens = torch.cat((self.registers.expand(len(x), -1, -1), tokens), dim=1)
        return tokens

    def _refuse(self, absent: Tensor) -> None:
        if bool(absent.any()):
            column = int(absent.any(dim=0).nonzero()[0])
            raise ConfigError(
                f"column {column} has missing values or unknown categories, which compat=official does not know: fill them in, "
                "or use compat=paper"
            )
