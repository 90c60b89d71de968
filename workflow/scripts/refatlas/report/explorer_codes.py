"""Cells as small integers, compressed for an HTML page.

Every block is the base64 of a gzip stream. templates/explorer_data.js reads them.
"""

import base64
import gzip
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

# Both coordinates of a cell that has no place.
NO_PLACE = 65_535
# More than these cells are placed on a grid of 2 ** 14 instead of 2 ** 16 lines. It is finer than any screen, and the
# page is a sixth smaller.
MANY_CELLS = 300_000
# A column with more categories shows the largest; the others are lumped together.
MAX_CATEGORIES = 1_000
# The code of a missing number.
NO_NUMBER = 255
# Positive numbers that span more than this ratio are shown on a logarithmic scale.
WIDE_RATIO = 200
# Longer names, in bytes, are written as lines instead of planes of letters.
MAX_PLANES = 64


@dataclass(frozen=True)
class Codes:
    """One column as integers.

    Attributes:
        values: one code per cell, uint8 or uint16.
        about: what the page needs to know: `categories`, or `min`, `max` and `scale`.
    """

    values: np.ndarray
    about: dict[str, Any]


def compressed(content: bytes) -> str:
    """Return bytes as base64 of a gzip stream, the same for the same bytes."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")


def byte_planes(values: np.ndarray) -> bytes:
    """Return all lowest bytes of unsigned integers, then all second bytes, and so on.

    This compresses better, because higher bytes vary less.
    """
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(len(values), values.itemsize).T.tobytes()


def grid_places(places: np.ndarray) -> np.ndarray:
    """Return places on a square grid, uint16, shape (n_cells, 2); both axes have the same scale.

    Args:
        places: shape (n_cells, 2). Rows that are not finite become NO_PLACE.
    """
    places = np.asarray(places, dtype=np.float64)
    known = np.isfinite(places).all(axis=1)
    grid = np.full(places.shape, NO_PLACE, dtype=np.uint16)
    if known.any():
        low, high = places[known].min(axis=0), places[known].max(axis=0)
        span = (high - low).max() or 1.0
        n_lines, step = (NO_PLACE, 1) if len(places) <= MANY_CELLS else (2**14 - 1, 4)
        start = (low + high - span) / 2
        grid[known] = np.rint((places[known] - start) / span * (n_lines - 1)).astype(np.uint16) * np.uint16(step)
    return grid


def near_order(grid: np.ndarray, is_query: np.ndarray) -> np.ndarray:
    """Return the order of cells with the reference first, in which cells that follow each other are near.

    Within each part it is Morton's order (the bits of both coordinates in turn), in which neighbours differ little
    and compress well.

    Args:
        grid: places, uint16, shape (n_cells, 2).
    """
    return np.lexsort((spread_bits(grid[:, 0]) | (spread_bits(grid[:, 1]) << np.uint32(1)), is_query))


def spread_bits(values: np.ndarray) -> np.ndarray:
    """Return 16-bit integers as uint32 with a zero bit before each of their bits."""
    spread = values.astype(np.uint32)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        spread = (spread | (spread << np.uint32(shift))) & np.uint32(mask)
    return spread


def places_block(grid: np.ndarray, deltas: bool) -> str:
    """Return places as a block: byte planes of x, then of y.

    Args:
        grid: uint16, shape (n_cells, 2).
        deltas: whether to write differences to the cell before, modulo 2 ** 16.
    """
    values = np.diff(grid, axis=0, prepend=np.uint16(0)) if deltas else grid
    return compressed(b"".join(byte_planes(np.ascontiguousarray(values[:, axis])) for axis in (0, 1)))


def category_codes(values: pd.Series | np.ndarray) -> Codes:
    """Return categories as codes; a missing value has the code after the last category."""
    series = values if isinstance(values, pd.Series) else pd.Series(values)
    codes, names = known_categories(series)
    codes, names = lump_categories(codes, names)
    codes = np.where(codes < 0, len(names), codes).astype(np.uint8 if len(names) < 256 else np.uint16)
    return Codes(codes, {"categories": names})


def known_categories(series: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return the code of each value, -1 where it is missing, and the names of the categories in order."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes, unique = series.cat.codes.to_numpy(), list(series.cat.categories)
    else:
        codes, unique = pd.factorize(series)
    texts = [str(value) for value in unique]
    ordered = isinstance(series.dtype, pd.CategoricalDtype)
    names = list(dict.fromkeys(texts if ordered else sorted(texts, key=natural_key)))
    new = {name: i for i, name in enumerate(names)}
    return np.append([new[text] for text in texts], -1).astype(np.int64)[codes], names


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names with numbers by the numbers: cluster 2 before cluster 10."""
    parts = re.split(r"([0-9]{1,18})", name)
    return [(0, int(part), "") if i % 2 else (1, 0, part.lower()) for i, part in enumerate(parts)]


def lump_categories(codes: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Return codes and names with the smallest of more than MAX_CATEGORIES categories lumped into the last one."""
    if len(names) <= MAX_CATEGORIES:
        return codes, names
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    kept = np.sort(np.argsort(-sizes, kind="stable")[:MAX_CATEGORIES])
    new = np.full(len(names) + 1, len(kept))
    new[kept], new[-1] = np.arange(len(kept)), -1
    return new[codes], [names[i] for i in kept] + [f"{len(names) - len(kept):,} other values"]


def number_codes(values: pd.Series | np.ndarray) -> Codes:
    """Return numbers as codes from 0 (smallest) to 254 (largest); NO_NUMBER where they are missing or infinite."""
    numbers = pd.to_numeric(pd.Series(values).reset_index(drop=True), errors="coerce").to_numpy(float, na_value=np.nan)
    known = np.isfinite(numbers)
    codes = np.full(len(numbers), NO_NUMBER, dtype=np.uint8)
    low, high = (numbers[known].min(), numbers[known].max()) if known.any() else (0.0, 0.0)
    logarithmic = low > 0 and high / low > WIDE_RATIO
    scaled = np.log(numbers[known]) if logarithmic else numbers[known]
    if known.any():
        span = scaled.max() - scaled.min()
        codes[known] = np.rint((scaled - scaled.min()) / (span or 1.0) * (NO_NUMBER - 1)).astype(np.uint8)
    scale = "logarithmic" if logarithmic else "linear"
    return Codes(codes, {"min": float(low), "max": float(high), "scale": scale})


def codes_block(codes: np.ndarray) -> str:
    """Return codes as a block of byte planes."""
    return compressed(byte_planes(codes))


def names_block(names: list[str]) -> tuple[str, int]:
    """Return names as a block, and the number of bytes of the longest name.

    The block has all first bytes, then all second bytes, and so on, of the names in UTF-8; shorter names end with
    zeros. So barcodes of random letters need a quarter less. If a name has more than MAX_PLANES bytes, the number is
    0, and the block has lines.
    """
    text = "\n".join(names).replace("\0", " ")
    if text.count("\n") >= len(names):
        text = "\n".join(name.replace("\n", " ") for name in names).replace("\0", " ")
    content = text.encode("utf-8", errors="replace")
    letters = np.array(content.split(b"\n"))
    if letters.itemsize > MAX_PLANES:
        return compressed(content), 0
    planes = letters.view(np.uint8).reshape(len(names), -1).T.tobytes()
    # Random letters have no repeats worth looking for. With this strategy only equal bytes in a row are.
    stream = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16, 8, zlib.Z_RLE)
    return base64.b64encode(stream.compress(planes) + stream.flush()).decode("ascii"), letters.itemsize


def gene_blocks(genes: sparse.csc_matrix) -> tuple[str, list[float]]:
    """Return one line for each gene, and the largest value of each gene.

    A line holds the numbers of the cells with values as differences to the cell before (byte planes of uint32), then
    the values from 1 to 254, the largest of the gene.

    Args:
        genes: expression, shape (n_cells, n_genes); values that are not positive are left out.
    """
    lines, largest = [], []
    for start, end in zip(genes.indptr[:-1], genes.indptr[1:], strict=True):
        positive = genes.data[start:end] > 0
        rows, values = genes.indices[start:end][positive], genes.data[start:end][positive]
        top = float(values.max()) if len(values) else 0.0
        codes = np.clip(np.ceil(values / (top or 1.0) * 254), 1, 254).astype(np.uint8)
        lines.append(compressed(byte_planes(np.diff(rows, prepend=0).astype(np.uint32)) + codes.tobytes()))
        largest.append(top)
    return "\n".join(lines), largest
