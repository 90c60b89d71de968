"""A still picture of an embedding, for browsers without WebGL or script."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from refatlas.plots import GREY, apply_style
from refatlas.report.explorer_codes import NO_PLACE, Codes

MAX_CELLS = 50_000
MAX_BYTES = 150_000
# The largest categories that the legend names.
MAX_NAMES = 18
# The first eight are those of Okabe and Ito (2008). Each further colour is the one farthest from all before, from
# white and from the greys, by the smallest CIELAB distance among normal sight, deuteranopia and protanopia (Machado
# et al. 2009).
# fmt: off
PALETTE = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#2b2b2b", "#0000ff", "#6969ff",
    "#00f087", "#693c00", "#690f69", "#e11e4b", "#2d00b4", "#1e2d96", "#7896ff", "#b4a54b", "#694b69", "#96d2a5",
    "#5a693c", "#a5e15a", "#3cc3d2", "#d20fb4", "#872dc3", "#693cff", "#5a2d1e", "#87004b", "#1ec378", "#a54b0f",
    "#b4d2ff", "#2d8778", "#00d21e", "#3c4b87", "#a569d2", "#5a965a", "#78961e", "#00d2b4", "#a53c5a", "#965a96",
]
# fmt: on
# Cells without a value.
NO_VALUE = "#8f96a0"


def still_picture(grid: np.ndarray, codes: Codes, n_reference: int, coloured: np.ndarray, title: str) -> str:
    """Return a PNG of at most MAX_BYTES as base64.

    Args:
        grid: places as by grid_places, the reference first.
        codes: of a category column.
        n_reference: number of reference cells.
        coloured: whether each cell has a colour; others are grey.
        title: of the legend.
    """
    rows = np.random.default_rng(0).permutation(len(grid))[:MAX_CELLS]
    rows = rows[(grid[rows] != NO_PLACE).any(axis=1)]
    # Grey cells lie below, and cells of the query over those of the reference.
    rows = rows[np.argsort(coloured[rows] * 2 + (rows >= n_reference), kind="stable")]
    for width in (6.4, 5.2, 4.0, 3.0):
        figure = draw_still(grid[rows], codes.values[rows], coloured[rows], codes.about["categories"], title, width)
        png = small_png(figure)
        if len(png) <= MAX_BYTES:
            break
    return base64.b64encode(png).decode("ascii")


def draw_still(
    grid: np.ndarray, codes: np.ndarray, coloured: np.ndarray, names: list[str], title: str, width: float
) -> Figure:
    """Return a figure of cells in the colours of their categories, `width` inches wide without the legend."""
    apply_style()
    figure, ax = plt.subplots(figsize=(width + 2.4, width * 0.8), dpi=100, layout="constrained")
    colors = np.array([*(PALETTE[i % len(PALETTE)] for i in range(len(names))), NO_VALUE])[codes]
    colors = np.where(coloured, colors, GREY)
    x, y = grid.T
    ax.scatter(x, y, c=colors, s=float(np.clip(40_000 / max(len(grid), 1), 1, 14)), linewidths=0)
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.axis("off")
    add_names(ax, codes[coloured], names, title)
    return figure


def add_names(ax: Axes, codes: np.ndarray, names: list[str], title: str) -> None:
    """Add a legend of the largest categories."""
    sizes = np.bincount(codes, minlength=len(names) + 1)[: len(names)]
    largest = [i for i in np.argsort(-sizes, kind="stable")[:MAX_NAMES] if sizes[i]]
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=PALETTE[i % len(PALETTE)]) for i in largest]
    texts = [printable(names[i]) for i in largest]
    ax.legend(handles, texts, title=printable(title), loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)


def printable(name: str) -> str:
    """Return a name as a figure can show it, cut after 28 characters."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
    return text if len(text) <= 28 else text[:27] + "…"


def small_png(figure: Figure) -> bytes:
    """Return a figure as PNG in the colours of the palette, their tints and greys, and close it."""
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png")
    plt.close(figure)
    Image.open(raw).convert("RGB").quantize(palette=few_colors(), dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def few_colors() -> Image.Image:
    """Return an image whose palette has all colours of the categories, two tints of each, and greys."""
    colors = np.array([to_rgb(color) for color in [*PALETTE, NO_VALUE, GREY]])
    tints = np.concatenate([1 - strength * (1 - colors) for strength in (1, 0.66, 0.33)])
    # None is so near to white that white could be taken for it.
    greys = np.append(np.linspace(0, 0.93, 255 - len(tints)), 1)[:, None].repeat(3, axis=1)
    image = Image.new("P", (1, 1))
    image.putpalette(np.rint(np.concatenate([tints, greys]) * 255).astype(np.uint8).tobytes())
    return image
