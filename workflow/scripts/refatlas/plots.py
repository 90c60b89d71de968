"""The common style of all figures, and figures that several rules draw."""

from collections.abc import Set
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from refatlas.io.atomic import atomic_path

GREY = "#d7d9dc"
# Categories that a legend names. Colours of more cannot be told apart.
MOST_NAMES = 40
# Between what belongs to a panel and the next one, in inches.
GAP = 0.15
STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "text.parse_math": False,
}


def apply_style() -> None:
    """Set the style of all figures drawn from now on, without a display.

    To be called before each figure, because some packages set their own style when they are
    imported.
    """
    matplotlib.use("Agg")
    plt.rcdefaults()
    plt.rcParams.update(STYLE)


def category_colors(names: list[str]) -> dict[str, tuple]:
    """Return a color for each name, the same for the same list of names."""
    if len(names) > 20:
        return {name: plt.get_cmap("turbo")(i / (len(names) - 1)) for i, name in enumerate(names)}
    palette: Any = plt.get_cmap("tab20" if len(names) > 10 else "tab10")
    return {name: palette.colors[i] for i, name in enumerate(names)}


def prepare_umap_axes(ax: Axes, umap: np.ndarray, title: str) -> float:
    """Set title, labels and limits of the axes for a UMAP; return a suitable size of the points.

    Args:
        umap: of all cells that will be drawn, shape (n_cells, 2).
    """
    ax.set(title=title, xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2", aspect="equal")
    ax.set_xlim(umap[:, 0].min() - 0.5, umap[:, 0].max() + 0.5)
    ax.set_ylim(umap[:, 1].min() - 0.5, umap[:, 1].max() + 0.5)
    return float(np.clip(15_000 / max(len(umap), 1), 0.5, 10))


def draw_categories(
    ax: Axes, umap: np.ndarray, values: pd.Series, palette: dict[str, tuple], size: float, seed: int = 0
) -> None:
    """Draw cells colored by category, with a legend of at most MOST_NAMES; missing values are grey.

    The cells are drawn in random order, so that no category hides another.

    Args:
        umap: shape (n_cells, 2).
        values: category of each cell.
        palette: color of each category.
        size: of the points.
        seed: of the order.
    """
    order = np.random.default_rng(seed).permutation(len(umap))
    codes = pd.Index(list(palette)).get_indexer(pd.Index(values))
    # The last is of code -1.
    colors: list[Any] = [*palette.values(), GREY]
    rgb = np.array([to_rgb(color) for color in colors])
    x, y = umap[order].T
    ax.scatter(x, y, c=rgb[codes[order]], s=size, linewidths=0, rasterized=True)
    _draw_legend(ax, palette, np.bincount(codes[codes >= 0], minlength=len(palette)))


def _draw_legend(ax: Axes, palette: dict[str, tuple], n_cells: np.ndarray) -> None:
    """Draw a legend beside the axes, of the categories that have cells; of more than MOST_NAMES, the largest.

    Args:
        n_cells: of each category, shape (n_categories,).
    """
    largest = set(np.argsort(-n_cells, kind="stable")[:MOST_NAMES])
    shown = [name for i, name in enumerate(palette) if i in largest and n_cells[i]]
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=palette[name], markersize=5) for name in shown]
    texts = [name if len(name) < 30 else name[:28] + "…" for name in shown]
    if more := int((n_cells > 0).sum()) - len(shown):
        handles.append(plt.Line2D([], [], linestyle=""))
        texts.append(f"and {more} more")
    ax.legend(handles, texts, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7, ncols=1 + len(texts) // 22)


def place_panels(axes: np.ndarray, width: float = 3.4, height: float = 3.1) -> None:
    """Give all panels of a figure one size, and widen the figure by what stands beside them.

    Layouts of a fixed width shrink the panels, or let long legends cover the next one.

    Args:
        axes: shape (n_rows, n_columns), all drawn.
        width, height: of a panel, in inches.
    """
    figure = axes[0, 0].figure
    outside = np.array([[_outside(ax) for ax in row] for row in axes])
    left, right = outside[:, :, 0].max(axis=0), outside[:, :, 1].max(axis=0)
    below, above = outside[:, :, 2].max(axis=1), outside[:, :, 3].max(axis=1)
    starts = np.cumsum(left + width + right + GAP) - right - width - GAP
    bottoms = np.cumsum((below + height + above + GAP)[::-1])[::-1] - above - height - GAP
    total = (starts[-1] + width + right[-1], bottoms[0] + height + above[0])
    figure.set_size_inches(*total)
    for row, bottom in zip(axes, bottoms, strict=True):
        for ax, start in zip(row, starts, strict=True):
            ax.set_position((start / total[0], bottom / total[1], width / total[0], height / total[1]))


def _outside(ax: Axes) -> np.ndarray:
    """Return how far what belongs to axes reaches beyond them, in inches: to the left, right, below and above."""
    around, inner = ax.get_tightbbox() or ax.bbox, ax.bbox
    ends = np.array([inner.x0 - around.x0, around.x1 - inner.x1, inner.y0 - around.y0, around.y1 - inner.y1])
    return ends.clip(0) / ax.figure.dpi


def draw_tree(
    parents: list[int], names: list[str], sizes: list[int], title: str, new: Set[int] = frozenset()
) -> Figure:
    """Return a figure of a tree, drawn from left to right with one node per line.

    Args:
        parents: of each node in preorder, -1 for the root.
        names: of the nodes.
        sizes: number of cells at and below each node.
        title: of the figure.
        new: nodes to highlight.
    """
    apply_style()
    depths = [0] * len(parents)
    for node, parent in enumerate(parents):
        depths[node] = depths[parent] + 1 if parent >= 0 else 0
    figure, ax = plt.subplots(
        figsize=(2.2 + 0.9 * max(depths) + 0.08 * max(map(len, names)), 0.7 + 0.26 * len(parents))
    )
    for node, parent in enumerate(parents):
        color = "tab:orange" if node in new else "tab:blue"
        if parent >= 0:
            ax.plot(
                [depths[parent], depths[parent], depths[node]],
                [-parent, -node, -node],
                color="#9aa0a6",
                linewidth=1,
                zorder=1,
            )
        ax.scatter(depths[node], -node, s=26, color=color, zorder=2)
        text = f"{names[node]}  ({sizes[node]:,})"
        ax.text(
            depths[node] + 0.18,
            -node,
            text,
            va="center",
            fontsize=8,
            parse_math=False,
            fontweight="bold" if node in new else "normal",
        )
    ax.set(title=title, xlim=(-0.3, max(depths) + 0.6 + 0.1 * max(map(len, names))), ylim=(-len(parents) + 0.3, 0.7))
    ax.title.set_horizontalalignment("left")
    ax.title.set_x(0)
    ax.axis("off")
    return figure


def draw_enrichment(table: pd.DataFrame, n_programs: int = 8, n_groups: int = 12) -> Figure:
    """Return a figure of the gene programs with the largest log Bayes factors, one panel per group.

    Args:
        table: index by, group, program; column bayes_factor.
        n_programs: most programs of a panel.
        n_groups: most groups, the first in the table.
    """
    apply_style()
    groups = list(table["bayes_factor"].groupby(level=["by", "group"], sort=False))[:n_groups]
    rows, columns = -(-len(groups) // 2), min(len(groups), 2)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(7 * columns, 0.9 + 0.2 * n_programs * rows + 0.5 * rows),
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(groups) :]:
        ax.axis("off")
    for ax, ((by, group), factors) in zip(axes.flat, groups, strict=False):
        top = factors.droplevel(["by", "group"]).sort_values(key=abs, ascending=False)[:n_programs][::-1]
        ax.barh(range(len(top)), top, color=["tab:orange" if value > 0 else "tab:blue" for value in top])
        ax.set_yticks(
            range(len(top)),
            [name if len(name) < 46 else name[:44] + "…" for name in top.index],
            fontsize=7,
            parse_math=False,
        )
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set_title(f"{by}: {group}", parse_math=False)
        ax.set_xlabel("log Bayes factor", fontsize=7)
    return figure


def draw_embeddings(table: pd.DataFrame) -> Figure:
    """Return a figure of the embeddings of batches, in their first two principal components.

    Query batches have another color. Up to 40 batches are labelled with their names.

    Args:
        table: index batch; columns origin ("reference" or "query"), then the dimensions.
    """
    apply_style()
    values = table.drop(columns="origin").to_numpy(dtype=float)
    left, spread, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    places = np.pad(left * spread, ((0, 0), (0, 2)))[:, :2].round(6)
    figure, ax = plt.subplots(figsize=(5.5, 4.5))
    for origin, color in (("reference", "tab:blue"), ("query", "tab:orange")):
        part = (table["origin"] == origin).to_numpy()
        if part.any():
            ax.scatter(places[part, 0], places[part, 1], color=color, s=24, label=origin)
    for name, (x, y) in zip(table.index, places, strict=True) if len(table) <= 40 else ():
        ax.annotate(name, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7, parse_math=False)
    ax.set(title="Embeddings of batches", xlabel="PC 1", ylabel="PC 2")
    ax.legend()
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG atomically, and close it."""
    with atomic_path(path) as part:
        figure.savefig(part, bbox_inches="tight")
    plt.close(figure)
