"""The look that all figures share."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from refatlas.jobs import whole

GREY = "#d7d9dc"
plt.rcParams.update(
    {"figure.dpi": 110, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.titleweight": "bold", "legend.frameon": False}
)


def colors(names: list[str]) -> dict[str, tuple]:
    """Return a color for each name, the same for the same list of names."""
    palette = plt.get_cmap("tab20").colors if len(names) > 10 else plt.get_cmap("tab10").colors
    if len(names) > 20:
        return {name: plt.get_cmap("turbo")(i / (len(names) - 1)) for i, name in enumerate(names)}
    return {name: palette[i] for i, name in enumerate(names)}


def scatter(ax, umap: np.ndarray, title: str) -> float:
    """Prepare an axis for cells in a UMAP of shape (n_cells, 2); return a fitting size of the points."""
    ax.set(title=title, xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2", aspect="equal")
    ax.set_xlim(umap[:, 0].min() - 0.5, umap[:, 0].max() + 0.5)
    ax.set_ylim(umap[:, 1].min() - 0.5, umap[:, 1].max() + 0.5)
    return float(np.clip(15_000 / max(len(umap), 1), 0.5, 10))


def by_category(ax, umap: np.ndarray, values: pd.Series, palette: dict[str, tuple], size: float, seed: int = 0) -> None:
    """Draw cells by category in random order, so that no category hides another; missing values are grey."""
    order = np.random.default_rng(seed).permutation(len(umap))
    point_colors = np.array([palette.get(value, matplotlib.colors.to_rgba(GREY))[:3] if value in palette else matplotlib.colors.to_rgb(GREY) for value in values])
    ax.scatter(*umap[order].T, c=point_colors[order], s=size, linewidths=0, rasterized=True)
    present = [name for name in palette if (values == name).any()]
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=palette[name], markersize=5) for name in present]
    ax.legend(handles, [name if len(name) < 30 else name[:28] + "…" for name in present], loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7, ncols=1 + len(present) // 22)


def save(figure, path: str) -> None:
    """Write a figure as PNG, whole or not at all, and close it."""
    with whole(path) as part:
        figure.savefig(part, bbox_inches="tight")
    plt.close(figure)
