"""Figure of one model's clusters: how they split from one resolution to the next, and how stable they are."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from refatlas.annotate.suggested_resolution import suggestion_notes
from refatlas.plots import apply_style

# Thinner branches are left out: cells that change sides between two resolutions.
LEAST_SHARE = 0.1
# Numbers of more clusters would overlap.
MOST_NUMBERS = 40


def plot_clusters(model: str, by_cluster: pd.DataFrame, tree: pd.DataFrame, summary: pd.DataFrame) -> plt.Figure:
    """Return the tree of clusters over resolutions, as clustree draws it (Zappia & Oshlack 2018), beside stability.

    Args:
        by_cluster: cluster_stability_by_cluster.csv.
        tree: cluster_tree.csv.
        summary: cluster_stability.csv.
    """
    apply_style()
    levels = list(summary["resolution"].astype(float))
    most = int(summary["n_clusters"].max())
    figure, (left, right) = plt.subplots(
        1,
        2,
        figsize=(min(5 + 0.22 * most, 16), 1.1 + 0.85 * len(levels)),
        width_ratios=(3.2, 1),
        layout="constrained",
    )
    _draw_tree(left, by_cluster, tree, levels)
    left.set_title(f"{model}: clusters by resolution")
    _draw_stability(right, summary, levels)
    return figure


def places(by_cluster: pd.DataFrame, tree: pd.DataFrame, levels: list[float]) -> dict[tuple[float, int], float]:
    """Return the horizontal place of each cluster, from 0 to 1, near its main parent.

    Args:
        levels: resolutions, from coarse to fine.
    """
    found: dict[tuple[float, int], float] = {}
    for coarse, level in zip([None, *levels], levels, strict=False):
        own = by_cluster[by_cluster["resolution"].astype(float) == level]
        parents = tree[tree["resolution"].astype(float) == level].drop_duplicates("cluster").set_index("cluster")
        near = {
            cluster: found.get((coarse, parents["parent"][cluster]), 0.5) if coarse is not None else 0.0
            for cluster in own["cluster"]
        }
        order = sorted(own["cluster"], key=lambda cluster: (near[cluster], cluster))
        found |= {(level, cluster): (i + 0.5) / len(order) for i, cluster in enumerate(order)}
    return found


def _draw_tree(ax: Axes, by_cluster: pd.DataFrame, tree: pd.DataFrame, levels: list[float]) -> None:
    place = places(by_cluster, tree, levels)
    for row in tree[tree["share"] >= LEAST_SHARE].itertuples():
        start, end = float(row.parent_resolution), float(row.resolution)
        ax.plot(
            [place[start, row.parent], place[end, row.cluster]],
            [-levels.index(start), -levels.index(end)],
            color="#9aa0a6",
            linewidth=0.4 + 2.2 * row.share,
            alpha=0.4 + 0.6 * row.share,
            zorder=1,
        )
    x = [place[float(row.resolution), row.cluster] for row in by_cluster.itertuples()]
    y = [-levels.index(float(row.resolution)) for row in by_cluster.itertuples()]
    share = by_cluster["n_cells"] / by_cluster.groupby("resolution")["n_cells"].transform("sum")
    points = ax.scatter(
        x, y, s=40 + 900 * share, c=by_cluster["stability"], cmap="viridis", vmin=0.3, vmax=1, zorder=2, linewidths=0
    )
    ax.figure.colorbar(points, ax=ax, shrink=0.7, label="stability of the cluster")
    for row, x_place, y_place in zip(by_cluster.itertuples(), x, y, strict=True):
        if (by_cluster["resolution"] == row.resolution).sum() <= MOST_NUMBERS:
            ax.annotate(str(row.cluster), (x_place, y_place), ha="center", va="center", fontsize=6, color="white")
    ax.set(
        yticks=-np.arange(len(levels)), yticklabels=[f"{level:g}" for level in levels], ylabel="resolution", xticks=[]
    )
    ax.set(xlim=(0, 1), ylim=(-len(levels) + 0.4, 0.6))


def _draw_stability(ax: Axes, summary: pd.DataFrame, levels: list[float]) -> None:
    y = -np.arange(len(levels))
    value, low, high = (summary[name].to_numpy() for name in ("stability", "stability_low", "stability_high"))
    ax.hlines(y, low, high, color="tab:blue")
    colors = ["tab:orange" if suggested else "tab:blue" for suggested in summary["suggested"]]
    ax.scatter(value, y, c=colors, s=28, zorder=3)
    # The note of an unstable resolution is longer than the panel: its second half stands in a line of its own.
    names = [
        f"{n} clusters{', ' + note if note else ''}".replace("; ", ";\n")
        for n, note in zip(summary["n_clusters"], suggestion_notes(summary), strict=True)
    ]
    for name, x_place, y_place in zip(names, value, y, strict=True):
        ax.annotate(name, (x_place, y_place), (0, 6), textcoords="offset points", ha="center", fontsize=7)
    ax.set(yticks=[], xlim=(min(0.4, low.min() - 0.05), 1.05), ylim=(-len(levels) + 0.4, 0.6), xlabel="stability")
    ax.set_title("found again in subsamples")
