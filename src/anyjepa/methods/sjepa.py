"""S-JEPA: predict the representations of hidden electrodes of an EEG from the others.

Guetschel, Moreau, Tangermann: S-JEPA: towards seamless cross-dataset transfer through dynamic spatial attention, 9th Graz
Brain-Computer Interface Conference 2024, pp. 11-16, doi 10.3217/978-3-99161-014-4-003, arXiv 2403.11772.

    h = local_encoder(x) + positions                                      one token per channel and second
    loss = l1( predictor(context_encoder(h[context]), positions[target]),  target_encoder(h)[target] )

The context encoder has a moving average as target encoder; local encoder and positions are shared by both sides and learn from
the context side. No code for pretraining was published: architecture and positions follow the first author's code of the encoder
in braindecode, the optimizer that of the successor (arXiv 2609.33487). What neither says is a field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from anyjepa.contract import Batch, Layout, Masks, Output, Representation
from anyjepa.errors import ConfigError
from anyjepa.masking.spheres import distinct, spheres
from anyjepa.methods.predictive import Predictive
from anyjepa.methods.sjepa_config import SJEPAConfig
from anyjepa.nn.attention import take
from anyjepa.nn.electrodes import ElectrodeCode, places_of
from anyjepa.nn.postnorm import PostNormEncoder, PostNormPredictor, initialise_postnorm
from anyjepa.objectives.distances import distance
from anyjepa.objectives.regularizers import regularize
from anyjepa.registry import register
from anyjepa.tokenizers.channels import ChannelTokenizer


@register(
    "sjepa",
    config=SJEPAConfig,
    summary="predicts the features of hidden electrodes of an EEG from the others",
    modality="eeg",
    citation="Guetschel, Moreau, Tangermann, S-JEPA, Graz BCI Conference 2024, arXiv 2403.11772",
    licence="official weights: MIT (braindecode/signal-jepa)",
)
class SJEPA(Predictive):
    """S-JEPA as a module. See the file header for the equation.

    Training windows have the shape of the config; :meth:`encode` takes windows of any length. For other channels see
    :meth:`with_channels`.

    Args:
        config: what is None in it is filled in by :meth:`SJEPAConfig.fit`; the positions of the channels must be given.
    """

    config: SJEPAConfig

    def __init__(self, config: SJEPAConfig | None = None) -> None:
        super().__init__(config or SJEPAConfig())

    def build(self, c: Any) -> None:
        """Tokenizer, code of the electrodes, encoder, predictor and their first weights."""
        self.tokenizer = ChannelTokenizer(c.local, c.local_dropout)
        self.positions = ElectrodeCode(
            torch.from_numpy(places_of(c.positions)),
            dim=c.dim,
            spatial=c.spatial,
            scale=c.coordinate_scale,
            longest=c.longest,
            time_first=c.time_first,
        )
        self.context_encoder = PostNormEncoder(c.dim, c.depth, c.heads, c.hidden, c.dropout)
        self.predictor = PostNormPredictor(
            c.dim, c.predictor_depth, c.heads, c.hidden, c.dropout, join=c.predictor_join
        )
        initialise_postnorm(self.context_encoder)
        initialise_postnorm(self.predictor)

    @property
    def layout(self) -> Layout:
        """How the tokens of a training window lie: (channels, tokens of time)."""
        return self.tokenizer.layout(*self.input_shape())

    @property
    def targets_drop(self) -> bool:
        """Where the config says so."""
        return bool(self.config.target_dropout)

    def draw_masks(self, batch: Batch) -> Masks:
        """The masks of a batch, on the CPU."""
        places = places_of(self.config.positions or ())
        return spheres(
            self.config.masks,
            self.layout,
            places,
            seed=batch.seed,
            step=batch.step,
            index=batch.index.numpy(),
        )

    def forward(self, batch: Batch | Tensor, masks: Masks | None = None) -> Output:
        """Loss and intermediates.

        Args:
            batch: windows in microvolts; a bare tensor (B, C, T) is a batch of samples 0..B-1 at the current step.
            masks: masks to use instead of drawn ones: one target block each, in ascending order (see
                :func:`anyjepa.masking.spheres.distinct` for its padding).
        """
        batch = self.as_batch(batch)
        self.check(batch.inputs)
        masks = (masks or self.draw_masks(batch)).to(batch.inputs.device)
        if masks.targets.shape[1] != 1:
            raise ConfigError(f"S-JEPA predicts one target block per sample, got {masks.targets.shape[1]}")
        wanted = masks.targets.flatten(1)
        asked = distinct(masks.targets).flatten(1)

        code = self.positions(self.layout.grid[1])
        tokens = self.tokenizer(batch.inputs) + code
        with self.making_targets():
            target = take(self.target_encoder(tokens), wanted)
        context = self.context_encoder(take(tokens, masks.context), valid=masks.context_valid)
        predicted = self.predictor(context, code[wanted], valid=masks.context_valid, asked=asked)

        prediction = distance(self.config.distance)(predicted[asked].float(), target[asked].float())
        loss, losses = prediction, {"prediction": prediction.detach()}
        regularizer, on = self.config.regularizer, self.config.regularizer.on
        regular = {"context": context, "target": target, "prediction": predicted}[on]
        valid = masks.context_valid if on == "context" else asked
        term = regularize(regularizer, regular.float(), valid, seed=batch.seed, step=batch.step)
        if term is not None:
            loss, losses["regularizer"] = prediction + regularizer.weight * term, term.detach()
        return Output(loss, losses, context, predicted.unsqueeze(1), target.detach().unsqueeze(1), masks)

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of windows (B, C, T') of any length by the ``"target"`` (default) or the ``"context"`` encoder.

        The published weights and the paper's downstream models are the context encoder.
        """
        module = self.encoder_module(encoder)
        channels = self.config.channels or ()
        if x.ndim != 3 or x.shape[1] != len(channels):
            raise ConfigError(
                f"expected input (B, {len(channels)}, samples) with the channels {', '.join(channels)}, got {tuple(x.shape)}; "
                "for other channels use with_channels"
            )
        layout = self.tokenizer.layout(x.shape[1], x.shape[2])
        tokens = module(self.tokenizer(x) + self.positions(layout.grid[1]), layer=layer)
        return Representation(tokens, tokens.mean(dim=1), encoder, layer, layout)

    def with_channels(
        self,
        channels: Iterable[str],
        positions: Iterable[Iterable[float]] | np.ndarray | None = None,
        *,
        rows: Literal["trained", "strict", "computed"] = "trained",
    ) -> SJEPA:
        """The same model for other channels: a copy that shares nothing with this one.

        Args:
            channels: their C' names.
            positions: (C', 3) in metres; NaN or empty where unknown. Where it is not given, a known name has the
                place it has in the config.
            rows: ``"trained"`` gives a channel of a known name (in any case of letters) its trained code, and every other one
                the code computed from its place; ``"strict"`` accepts known names only; ``"computed"`` computes all codes.

        Raises:
            ConfigError: a channel that has neither a known name nor a place, or is unknown under ``"strict"``.
        """
        c, names = self.config, tuple(channels)
        old = {name.casefold(): i for i, name in enumerate(c.channels or ())}
        own = [(c.positions or ())[old[n.casefold()]] if n.casefold() in old else () for n in names]
        asked = c.with_channels(names, own if positions is None else positions)
        places = tuple(place or mine for place, mine in zip(asked.positions or (), own, strict=False))
        fitted = replace(asked, positions=places)
        source = [old.get(name.casefold()) if rows != "computed" else None for name in names]
        strange = [
            name
            for name, row, place in zip(names, source, places, strict=False)
            if row is None and (rows == "strict" or not place)
        ]
        if strange:
            raise ConfigError(
                f"no code for the channels {', '.join(strange)}: the model was trained with {', '.join(c.channels or ())}"
                + ("" if rows == "strict" else "; give their positions to have codes computed")
            )
        other = SJEPA(fitted.fit((len(names), self.input_shape()[1])))
        state = {k: v for k, v in self.state_dict().items() if k != "positions.table"}
        other.load_state_dict(state, strict=False)
        with torch.no_grad():
            for i, row in enumerate(source):
                if row is not None:
                    other.positions.table[i] = self.positions.table[row].to(other.positions.table.device)
        other.step = self.step
        return other.to(self.positions.table.device).train(self.training)

    def input_shape(self) -> tuple[int, ...]:
        """(C, T) of a training window."""
        return (len(self.config.channels or ()), self.config.samples or 0)
