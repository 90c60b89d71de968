"""Figures of marker genes: a dot plot and a heat map of one grouping."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from refatlas.io.atomic import read_csv
from refatlas.plots import apply_style

# More groups could not be read; the largest are drawn.
MAX_GROUPS = 40
# About so many genes fit side by side, and so many of each group are enough.
MAX_DOT_GENES, DOT_GENES = 90, 5
MAX_HEAT_GENES, HEAT_GENES = 100, 10
LEAST_GENES = 3
LARGEST_DOT, CELL_INCHES, MARGIN_INCHES = 95.0, 0.2, 1.4
LEGEND_SHARES = (0.2, 0.6, 1.0)
LARGEST_Z = 2.5
LONGEST_NAME = 32


def shown_grouping(groupings: list[str], wanted: str | None, stability: str | None) -> str:
    """Return which grouping is drawn: the wanted one, else the suggested resolution, else the first.

    Args:
        groupings: their names.
        stability: path of cluster_stability.csv, if the groupings are clusters.
    """
    if wanted:
        return wanted
    if stability:
        table = read_csv(stability)
        return f"{table.loc[table['suggested'], 'resolution'].iloc[0]:g}"
    return groupings[0]


def plot_marker_dots(markers: pd.DataFrame, top: pd.DataFrame, sizes: pd.Series) -> Figure:
    """Return a dot plot: size is the share of a group's cells with the gene, color its mean.

    Args:
        markers: markers.parquet.
        top: markers.csv.
        sizes: number of cells of each group, named as the grouping that is drawn.
    """
    apply_style()
    genes = _genes_of_groups(top, sizes, MAX_DOT_GENES, DOT_GENES)
    if genes.empty:
        return _note(f"{sizes.name}: no group has a marker")
    share, mean = (_matrix(markers, sizes, genes, statistic) for statistic in ("share_in", "mean_in"))
    spread = mean.max() - mean.min()
    scaled = (mean - mean.min()) / spread.where(spread > 0, 1)
    figure, ax = _axes(share, genes, _title(sizes))
    y, x = np.indices(share.shape)
    style: dict[str, Any] = {
        "cmap": "Reds",
        "vmin": 0,
        "vmax": 1,
        "edgecolors": "#9aa0a6",
        "linewidths": 0.3,
        "clip_on": False,
    }
    dots = ax.scatter(x, y, s=LARGEST_DOT * share.to_numpy(), c=scaled.to_numpy(), **style)
    _add_colors(figure, ax, dots, "scaled mean")
    handles = [ax.scatter([], [], s=LARGEST_DOT * part, color="#b9bec5", label=f"{part:.0%}") for part in LEGEND_SHARES]
    place = (1 + 0.05 / _width(share), 0)
    ax.legend(handles=handles, title="cells", loc="lower left", bbox_to_anchor=place, fontsize=7, title_fontsize=7)
    return figure


def plot_marker_heat(markers: pd.DataFrame, top: pd.DataFrame, sizes: pd.Series) -> Figure:
    """Return a heat map: the mean of each group's markers in every group, as z-score by gene.

    Args:
        markers: markers.parquet.
        top: markers.csv.
        sizes: number of cells of each group, named as the grouping that is drawn.
    """
    apply_style()
    genes = _genes_of_groups(top, sizes, MAX_HEAT_GENES, HEAT_GENES)
    if genes.empty:
        return _note(f"{sizes.name}: no group has a marker")
    mean = _matrix(markers, sizes, genes, "mean_in")
    deviation = mean.std(ddof=0)
    scores = (mean - mean.mean()) / deviation.where(deviation > 0, 1)
    figure, ax = _axes(mean, genes, _title(sizes))
    image = ax.imshow(scores, cmap="RdBu_r", vmin=-LARGEST_Z, vmax=LARGEST_Z, aspect="auto", interpolation="nearest")
    _add_colors(figure, ax, image, "z-score")
    return figure


def _genes_of_groups(top: pd.DataFrame, sizes: pd.Series, most: int, each: int) -> pd.DataFrame:
    """Return gene, symbol and group of the genes that are drawn; each is of the group where it ranks best."""
    drawn = sizes.nlargest(MAX_GROUPS).index
    n = int(np.clip(most // max(len(drawn), 1), LEAST_GENES, each))
    own = top[(top["grouping"] == sizes.name) & (top["rank"] <= n) & top["group"].isin(drawn)]
    own = own.astype({"group": str, "gene": str, "symbol": str})
    best = own.sort_values(["rank", "batch_score"], ascending=[True, False], kind="stable").drop_duplicates("gene")
    order = {group: i for i, group in enumerate(sizes.index)}
    return best.sort_values("group", key=lambda groups: groups.map(order), kind="stable")[["gene", "symbol", "group"]]


def _matrix(markers: pd.DataFrame, sizes: pd.Series, genes: pd.DataFrame, statistic: str) -> pd.DataFrame:
    """Return a statistic as groups × genes; 0 where datasets of a group did not measure a gene."""
    own = markers[(markers["grouping"] == sizes.name) & markers["gene"].isin(genes["gene"])]
    table = own.astype({"group": str, "gene": str}).pivot(index="group", columns="gene", values=statistic)
    drawn = sizes.index[sizes.index.isin(sizes.nlargest(MAX_GROUPS).index)]
    return table.reindex(index=drawn, columns=genes["gene"]).fillna(0)


def _title(sizes: pd.Series) -> str:
    name = str(sizes.name)
    is_resolution = name.replace(".", "", 1).isdigit()
    return f"markers of the clusters at resolution {name}" if is_resolution else f"markers by {name}"


def _width(matrix: pd.DataFrame) -> float:
    return max(CELL_INCHES * matrix.shape[1], 1.5)


def _axes(matrix: pd.DataFrame, genes: pd.DataFrame, title: str) -> tuple[Figure, Axes]:
    """Return axes for a matrix, with its names, and a line after the genes of each group."""
    # The color bar and the legend of the dots stand above each other beside the matrix.
    height = max(CELL_INCHES * len(matrix), 1.9)
    figure, ax = plt.subplots(figsize=(_width(matrix), height))
    figure.subplots_adjust(0, 0, 1, 1)
    names = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in matrix.index]
    ax.set_xticks(range(len(genes)), list(genes["symbol"]), rotation=90, fontsize=7, style="italic")
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.tick_params(length=0)
    for edge in np.flatnonzero(genes["group"].to_numpy()[1:] != genes["group"].to_numpy()[:-1]):
        ax.axvline(edge + 0.5, color="#d7d9dc", linewidth=0.6, zorder=0)
    ax.set(title=title, xlim=(-0.6, len(genes) - 0.4), ylim=(len(names) - 0.4, -0.6))
    return figure, ax


def _add_colors(figure: Figure, ax: Axes, mapped: ScalarMappable, label: str) -> None:
    """Add a small color bar at the upper right."""
    bar = ax.inset_axes((1 + 0.15 / figure.get_figwidth(), 0.5, 0.12 / figure.get_figwidth(), 0.5))
    figure.colorbar(mapped, cax=bar)
    bar.set_ylabel(label, fontsize=7)
    bar.tick_params(labelsize=6, length=2)


def _note(text: str) -> Figure:
    figure, ax = plt.subplots(figsize=(6, 1))
    ax.text(0, 0.5, text)
    ax.set_axis_off()
    return figure
