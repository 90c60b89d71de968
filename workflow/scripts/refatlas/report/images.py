"""Images within the report's page."""

import base64
import contextlib
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, UnidentifiedImageError

ALMOST_WHITE = 253


def embed_png(path: str | Path) -> str:
    """Return a PNG file as a data URL, with at most 256 colours: about a quarter of the bytes of a figure.

    A picture that is too large to be read, or cannot be read, is embedded as it is.
    """
    content = Path(path).read_bytes()
    with contextlib.suppress(UnidentifiedImageError, Image.DecompressionBombError):
        content = few_colors(content)
    return "data:image/png;base64," + base64.b64encode(content).decode()


def few_colors(png: bytes) -> bytes:
    """Return a PNG with at most 256 colours on white; the same bytes where this is not smaller."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A"))
    small = io.BytesIO()
    few = flat.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    # The tree of colours rounds white down.
    few.putpalette([255 if value >= ALMOST_WHITE else value for value in few.getpalette() or []])
    few.save(small, "PNG", optimize=True)
    return min(png, small.getvalue(), key=len)


def folder_figures(folders: Mapping[str, str | Path]) -> list[tuple[str, str]]:
    """Return title and data URL of every PNG in folders of tables.

    Args:
        folders: by the name that their titles begin with.
    """
    return [
        (f"{title}: {path.stem.replace('_', ' ')}", embed_png(path))
        for title, folder in folders.items()
        for path in sorted(Path(folder).glob("*.png"))
    ]
