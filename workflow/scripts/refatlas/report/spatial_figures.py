"""Figures on a tissue: its regions, how well held-out spots are placed, and where the types of a query lie."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refatlas.plots import GREY, apply_style, category_colors
from refatlas.spatial.placing import Placer
from refatlas.spatial.regions import Partition
from refatlas.spatial.spots import Spots

# Panels of types, and regions whose names a legend can hold.
N_PANELS, N_COLUMNS, N_LEGEND = 12, 4, 16
# Largest ratio that colors tell apart, both ways.
LARGEST_RATIO = 2.0


def plot_tissue(parts: list[Partition], held_out: pd.DataFrame) -> Figure:
    """Return the regions of each partition beside the probability that each held-out spot's own region was given.

    Sections of tissue are drawn side by side.

    Args:
        parts: partitions. held_out: of `held_out_table`.
    """
    apply_style()
    figure, axes = plt.subplots(len(parts), 2, figsize=(9.5, 3.9 * len(parts)), squeeze=False, layout="constrained")
    for (left, right), part in zip(axes, parts, strict=True):
        own = held_out[held_out["partition"] == part.name]
        xy = side_by_side(own[["x", "y"]].to_numpy(dtype=float), own["section"].to_numpy(dtype=str))
        palette = category_colors(part.regions)
        _tissue_axes(left, f"{part.name}: {len(part.regions)} regions")
        size = _size(len(xy))
        for name, color in palette.items():
            inside = (own["region"] == name).to_numpy()
            left.scatter(*xy[inside].T, s=size, color=color, linewidths=0, label=_short(name), rasterized=True)
        if len(palette) <= N_LEGEND:
            left.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7, markerscale=max(1.0, 3 / size**0.5))
        _tissue_axes(right, "probability of its own region, held out")
        colors = right.scatter(*xy.T, c=own["probability_of_region"], s=size, cmap="viridis", vmin=0, vmax=1,
                               linewidths=0, rasterized=True)  # fmt: skip
        figure.colorbar(colors, ax=right, shrink=0.7)
    return figure


def plot_accuracy(scores: pd.DataFrame) -> Figure:
    """Return the accuracy of each method on held-out spots with two standard errors, and chance.

    Args:
        scores: methods.csv.
    """
    apply_style()
    names = list(scores["partition"].unique())
    figure, axes = plt.subplots(1, len(names), figsize=(1 + 2.4 * len(names), 3.2), squeeze=False, layout="constrained")
    for ax, name in zip(axes.flat, names, strict=True):
        own = scores[scores["partition"] == name]
        colors = ["#c2410c" if chosen else "#8b96a5" for chosen in own["chosen"]]
        ax.bar(range(len(own)), own["accuracy"], yerr=2 * own["accuracy_se"], color=colors, capsize=3)
        ax.axhline(own["chance"].iloc[0], color="black", linewidth=0.9, linestyle="--")
        ax.set_xticks(range(len(own)), [method.replace("_", " ") for method in own["method"]], rotation=30, ha="right")
        ax.set(title=f"{name}, {own['n_regions'].iloc[0]} regions", ylim=(0, 1))
    axes.flat[0].set_ylabel("accuracy on held-out spots")
    return figure


def plot_types(placer: Placer, types: pd.DataFrame, spots: Spots) -> Figure:
    """Return the tissue colored by how often a type's cells are in each region, one panel a type.

    The color is the share of the region as a multiple of the share of spots in it, on a logarithmic scale: grey is what
    cells that are spread evenly would give. The partition with the most regions is shown, and the largest types.

    Args:
        types: types.csv.
    """
    apply_style()
    part = max(placer.parts, key=lambda p: len(p.regions))
    own = types[types["partition"] == part.name]
    sizes = own.drop_duplicates("label").sort_values(["cells", "label"], ascending=[False, True], kind="stable")
    shown = sizes.head(N_PANELS)
    columns = max(min(len(shown), N_COLUMNS), 1)
    rows = max(-(-len(shown) // columns), 1)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.9 * columns + 0.9, 2.9 * rows), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    xy, known, image = side_by_side(spots.xy, spots.sections), part.codes >= 0, None
    for ax, (label, cells) in zip(axes.flat, shown[["label", "cells"]].itertuples(index=False), strict=False):
        rates = own[own["label"] == label].set_index("region")
        ratio = np.log2(np.maximum(rates["share"], 1e-6) / np.maximum(rates["even"], 1e-6))
        values = ratio.reindex(part.regions).to_numpy(dtype=float)[part.codes[known]]
        _tissue_axes(ax, f"{_short(label)} ({cells:,})")
        ax.scatter(*xy[~known].T, s=_size(len(xy)), color=GREY, linewidths=0, rasterized=True)
        image = ax.scatter(*xy[known].T, c=values, s=_size(len(xy)), cmap="coolwarm", vmin=-LARGEST_RATIO,
                           vmax=LARGEST_RATIO, linewidths=0, rasterized=True)  # fmt: skip
    if image is None:
        axes.flat[0].set_title("no cell has a type", fontsize=9)
    else:
        figure.colorbar(image, ax=axes, shrink=0.7, label=f"log2 of share to even spread, {part.name}")
    return figure


def side_by_side(xy: np.ndarray, sections: np.ndarray) -> np.ndarray:
    """Return coordinates in which sections lie side by side, shape (n_spots, 2); of one section, as they are."""
    found, left = xy.astype(float).copy(), 0.0
    names = np.unique(sections)
    if len(names) < 2:
        return found
    for section in names:
        own = sections == section
        found[own] -= found[own].min(axis=0) - np.array([left, 0])
        left = found[own, 0].max() + 0.1 * max(np.ptp(found[own, 0]), 1e-9)
    return found


def _tissue_axes(ax: Axes, title: str) -> None:
    """Set up axes for a tissue: as in an image, y runs downwards."""
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.set_title(title, fontsize=9)
    ax.invert_yaxis()
    for side in ax.spines.values():
        side.set_visible(False)


def _size(n: int) -> float:
    return float(np.clip(12_000 / max(n, 1), 1, 30))


def _short(text: str, most: int = 28) -> str:
    return text if len(text) < most else text[: most - 2] + "…"
