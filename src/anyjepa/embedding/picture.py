"""A contact sheet: each query and its neighbours side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from anyjepa.data import Source, open_source
from anyjepa.data.decode import decode
from anyjepa.data.transforms import resize_centre
from anyjepa.embedding.parts import saved
from anyjepa.embedding.search import Answer
from anyjepa.embedding.stored import Embeddings
from anyjepa.errors import ConfigError, DataError

SIDE, GAP, LINE = 96, 8, 14
"""Pixels: side of a picture, space between two, height of a line of text."""
FORMATS = (".png", ".jpg", ".jpeg", ".webp")


def contact_sheet(embeddings: str | Path | Embeddings, answers: Sequence[Answer], out: str | Path) -> Path:
    """Draw the queries, one per line, with their neighbours to the right, and write the picture.

    Args:
        embeddings: the file that was searched.
        answers: what :func:`~anyjepa.embedding.search.search` found.
        out: image file to write.

    Raises:
        DataError: the images are not where they were when they were embedded, or the file cannot be written.
    """
    out = Path(out)
    if out.suffix.lower() not in FORMATS:
        raise ConfigError(f"{out} must end in one of {', '.join(FORMATS)}")
    stored = embeddings if isinstance(embeddings, Embeddings) else Embeddings(embeddings)
    plan = stored.plan
    if plan is None:
        raise DataError(f"{stored.path} does not say where its images are")
    if plan.modality != "images":
        raise DataError(f"{stored.path} holds {plan.modality}: a sheet is drawn of images")
    source = open_source(plan.data, channels=plan.reading["channels"], limit=plan.samples)
    columns = 1 + max(len(answer.neighbours) for answer in answers)
    height = SIDE + 2 * LINE + GAP
    sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, len(answers) * height + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for line, answer in enumerate(answers):
        known = answer.row is not None
        query = _stored(stored, source, answer.row) if known else decode(Path(answer.query), 3, answer.query)
        cells = [(query, "query", answer.label)]
        cells += [(_stored(stored, source, n.row), f"{n.cosine:.3f}", n.label) for n in answer.neighbours]
        for column, (image, text, label) in enumerate(cells):
            left, top = GAP + column * (SIDE + GAP), GAP + line * height
            sheet.paste(_thumbnail(image), (left, top))
            draw.text((left, top + SIDE + 2), text, fill="black")
            if label is not None:
                draw.text((left, top + SIDE + LINE), str(label)[:16], fill="black")
    with saved(out) as partial:
        sheet.save(partial, format={".jpg": "JPEG"}.get(out.suffix.lower(), out.suffix[1:].upper()))
    return out


def _stored(stored: Embeddings, source: Source, row: int | None) -> Tensor:
    """The image of a row, when it still has the name it had."""
    assert row is not None
    (index,), (name,) = stored.column("index", [row]), stored.column("id", [row])
    if index >= len(source) or source.identity(index) != name:
        raise DataError(
            f"the data have changed since they were embedded: '{name}' is not at its place any more"
        )
    return source.read(index)


def _thumbnail(image: Tensor) -> Image.Image:
    """The middle of an image, without channels beyond the third."""
    pixels = resize_centre([image], (SIDE, SIDE))[0].clamp(0, 255).round().to(torch.uint8)
    colour = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    return Image.fromarray(colour.permute(1, 2, 0).contiguous().numpy())
