"""The figure of densities of a contrast: log ratios on the UMAP, and their distribution by label."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refatlas.differential.density import LIMIT
from refatlas.differential.deseq import ALPHA
from refatlas.differential.participants import groups_of
from refatlas.plots import apply_style, prepare_umap_axes

# Log2 ratios beyond are drawn in the last color. Labels by the median that is farthest from 0; names of the largest.
FARTHEST, N_ROWS, N_NAMES = 3.0, 40, 12
# Blue is control and orange test, as in the other figures of contrasts.
COLORS = ["#1d4ed8", "#93b4f0", "#e6e7ea", "#f0b48c", "#c2410c"]
# Behind names, so that they are read over any color.
BEHIND = {"fc": "white", "ec": "none", "alpha": 0.6, "pad": 0.8}
# Of the bars of a label: the middle half, and nine tenths of its cells.
HALF, MOST = (25, 75), (5, 95)


def plot_density(cells: pd.DataFrame, labels: pd.DataFrame, umap: pd.DataFrame, contrast: Mapping[str, Any]) -> Figure:
    """Return the UMAP of the cells by their log ratio, and the log ratios by label.

    Args:
        cells, labels: of `refatlas.differential.density`.
        umap: places of the cells, and maybe of others, indexed by cell.
        contrast: its settings.
    """
    apply_style()
    far = labels["median_log2_ratio"].abs().sort_values(ascending=False, kind="stable").index[:N_ROWS]
    shown = labels.loc[far].sort_values("median_log2_ratio", ascending=False, kind="stable").reset_index(drop=True)
    figure, axes = plt.subplots(1, 2, figsize=(11.5, max(4.6, 1.4 + 0.26 * len(shown))), layout="constrained")
    _draw_places(axes[0], cells, labels, umap.loc[cells.index].to_numpy())
    _draw_labels(axes[1], cells, shown)
    test, control = groups_of(contrast)
    figure.suptitle(f"denser in {test} (orange) than in {control} (blue)", fontsize=10)
    return figure


def _draw_places(ax: Axes, cells: pd.DataFrame, labels: pd.DataFrame, umap: np.ndarray) -> None:
    """Draw cells by their log ratio, in random order, with the names of the largest labels."""
    size = prepare_umap_axes(ax, umap, "log2 ratio of the densities")
    order = np.random.default_rng(0).permutation(len(umap))
    colors = plt.matplotlib.colors.LinearSegmentedColormap.from_list("density", COLORS)
    style: dict[str, Any] = {"cmap": colors, "vmin": -FARTHEST, "vmax": FARTHEST, "linewidths": 0, "rasterized": True}
    x, y = umap[order].T
    points = ax.scatter(x, y, c=cells["log2_ratio"].to_numpy()[order], s=size, **style)
    ax.figure.colorbar(points, cax=ax.inset_axes((1.02, 0.15, 0.03, 0.7)), extend="both")
    for label in labels.sort_values("n_cells", ascending=False, kind="stable")["label"][:N_NAMES]:
        place = np.median(umap[(cells["label"] == label).to_numpy()], axis=0)
        ax.annotate(
            _short(label), place, fontsize=7, ha="center", bbox={"fc": "white", "ec": "none", "alpha": 0.6, "pad": 0.8}
        )


def _draw_labels(ax: Axes, cells: pd.DataFrame, labels: pd.DataFrame) -> None:
    """Draw the median of each label, the middle half and nine tenths of its cells."""
    for row, label in labels["label"].items():
        ratios = cells.loc[cells["label"] == label, "log2_ratio"]
        ax.plot(np.percentile(ratios, MOST), [row, row], color="#b0b4ba", linewidth=1)
        ax.plot(np.percentile(ratios, HALF), [row, row], color="#6b7280", linewidth=4, solid_capstyle="butt")
        ax.scatter(ratios.median(), row, s=26, color=COLORS[-1 if ratios.median() > 0 else 0], zorder=3)
    ax.axvline(0, color="black", linewidth=0.5)
    # Without a change, what there is would fill the panel.
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, -LIMIT), max(high, LIMIT))
    stars = ["* " if fdr < ALPHA else "" for fdr in labels["fdr"]]
    names = [star + _short(label) for star, label in zip(stars, labels["label"], strict=True)]
    ax.set(yticks=range(len(labels)), yticklabels=names, ylim=(len(labels) - 0.5, -0.5))
    ax.set_xlabel(
        f"log2 ratio of the densities: median, middle half and 90 % of the cells\n* FDR {ALPHA:.0%} over labels"
    )
    ax.grid(axis="y", color="#eceef0", linewidth=0.5)


def _short(text: str) -> str:
    return text if len(text) < 30 else text[:28] + "…"
