"""Figures of a contrast: volcano plots and MA plots, one panel a label; shares of the labels by sample."""

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refatlas.differential.deseq import ALPHA
from refatlas.differential.participants import groups_of
from refatlas.plots import apply_style

N_PANELS, N_NAMES, N_COLUMNS, N_ROWS = 12, 8, 3, 40
# Places of a name beside its point: offset in points, and the side of the name that is there.
PLACES = [((4, 2), "left"), ((-4, 2), "right"), ((4, -7), "left"), ((-4, -7), "right"), ((0, 5), "center")]
DIFFERENCES = {"programs": "difference of mean scores", "proteins": "difference of mean log2(1 + counts)"}
HIGHER, LOWER, OTHER = "#c2410c", "#1d4ed8", "#b0b4ba"


def plot_volcanos(genes: pd.DataFrame, contrast: Mapping[str, Any], change: str = "log2 fold change") -> Figure:
    """Return the change and its significance of all genes, for the labels with most genes that differ.

    Args:
        genes: of the comparison.
        contrast: its settings.
        change: what the change is.
    """
    test, control = groups_of(contrast)

    def draw(ax: Axes, part: pd.DataFrame) -> None:
        known = part[part["p_value"].notna()]
        # A p-value may be smaller than the smallest number.
        height = -np.log10(known["p_value"].clip(lower=np.finfo(float).tiny))
        ax.scatter(known["log2_fold_change"], height, c=_colors(known), s=6, linewidths=0, rasterized=True)
        named[ax] = [(known["symbol"].loc[i], known["log2_fold_change"].loc[i], height.loc[i]) for i in _named(known)]
        ax.axvline(0, color="black", linewidth=0.5)
        ax.set(xlabel=change, ylabel="−log10 p")
        # Numbers of small differences are long.
        ax.locator_params(axis="x", nbins=5)

    named: dict[Axes, list[tuple[str, float, float]]] = {}
    figure = _panels(genes, draw)
    _head(figure, test, control)
    # Where names have room is known once the panels have their places.
    figure.draw_without_rendering()
    for ax, names in named.items():
        _write_names(ax, names)
    return figure


def plot_features(features: pd.DataFrame, contrast: Mapping[str, Any], kind: str) -> Figure:
    """Return the change and its significance of gene programs or proteins, for the labels with most that differ.

    Args:
        features: of `refatlas.differential.features`.
        contrast: its settings.
        kind: "programs" or "proteins".
    """
    columns = {"difference": "log2_fold_change", "feature": "symbol"}
    return plot_volcanos(features.rename(columns=columns), contrast, DIFFERENCES[kind])


def plot_ma(genes: pd.DataFrame, contrast: Mapping[str, Any]) -> Figure:
    """Return the change of all genes by their mean, for the same labels.

    Args:
        genes: of the comparison.
        contrast: its settings.
    """

    def draw(ax: Axes, part: pd.DataFrame) -> None:
        ax.scatter(
            np.log10(part["base_mean"]), part["log2_fold_change"], c=_colors(part), s=6, linewidths=0, rasterized=True
        )
        ax.axhline(0, color="black", linewidth=0.5)
        ax.set(xlabel="log10 mean of normalised counts", ylabel="log2 fold change")

    figure = _panels(genes, draw)
    _head(figure, *groups_of(contrast))
    return figure


def plot_abundance(labels: pd.DataFrame, samples: pd.DataFrame, contrast: Mapping[str, Any]) -> Figure:
    """Return the share of each label in each sample, the labels that differ most significantly first.

    Args:
        labels, samples: of the abundance.
        contrast: its settings.
    """
    apply_style()
    test, control = groups_of(contrast)
    order = labels.sort_values(["relative_p_value", "label"], kind="stable").head(N_ROWS).reset_index(drop=True)
    figure, ax = plt.subplots(figsize=(7, 1.4 + 0.36 * len(order)), layout="constrained")
    used = samples[samples["used"]]
    for group, color, shift in ((test, HIGHER, -0.17), (control, LOWER, 0.17)):
        own = used[used[contrast["condition"]] == group]
        for row, label in order["label"].items():
            shares = own.loc[own["label"] == label, "share"]
            ax.scatter(shares, np.full(len(shares), row + shift), s=16, color=color, alpha=0.7, linewidths=0)
            ax.plot([shares.mean()] * 2, [row + shift - 0.15, row + shift + 0.15], color=color, linewidth=2)
        ax.scatter([], [], s=16, color=color, label=f"{_short(group)} ({own[contrast['sample']].nunique()} samples)")
    differ = order["relative_fdr"] < ALPHA
    names = [("* " if star else "") + _short(label) for label, star in zip(order["label"], differ, strict=True)]
    ax.set(yticks=range(len(order)), yticklabels=names, ylim=(len(order) - 0.5, -0.5))
    # Small shares are told apart, and zero is a place.
    ax.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    highest = used["share"].max()
    ax.set_xlim(0, 1.05 * highest)
    ticks = [x for x in (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1) if x <= 1.05 * highest]
    ax.set_xticks(ticks, [f"{x:.0%}" for x in ticks])
    ax.set_xlabel(
        "share of the cells of a sample (square-root scale); bars: means\n"
        f"* differs relative to the other labels, FDR {ALPHA:.0%}"
    )
    ax.grid(axis="y", color="#eceef0", linewidth=0.5)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    return figure


def shown_labels(genes: pd.DataFrame) -> list[str]:
    """Return the labels that figures show, those with most genes that differ first."""
    differ = (genes["fdr"] < ALPHA).groupby(genes["label"].astype(str)).sum()
    return list(differ.sort_index().sort_values(ascending=False, kind="stable").index[:N_PANELS])


def _panels(genes: pd.DataFrame, draw: Callable[[Axes, pd.DataFrame], None]) -> Figure:
    apply_style()
    labels = shown_labels(genes)
    columns = min(len(labels), N_COLUMNS)
    rows = -(-len(labels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4 * columns, 3.2 * rows + 0.4), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(labels) :]:
        ax.axis("off")
    for ax, label in zip(axes.flat, labels, strict=False):
        part = genes[genes["label"] == label]
        n_differ = int((part["fdr"] < ALPHA).sum())
        draw(ax, part)
        ax.set_title(f"{_short(label)}: {n_differ:,} of {len(part):,}", fontsize=9)
    return figure


def _head(figure: Figure, test: str, control: str) -> None:
    figure.suptitle(f"{test} (orange: higher) against {control} (blue: higher), FDR {ALPHA:.0%}", fontsize=10)


def _short(text: str) -> str:
    return text if len(text) < 34 else text[:32] + "…"


def _write_names(ax: Axes, names: list[tuple[str, float, float]]) -> None:
    """Write names beside points, each where it covers no other one; names without room are left out."""
    taken: list[Any] = []
    for name, x, y in names:
        for offset, side in PLACES:
            text = ax.annotate(name, (x, y), xytext=offset, textcoords="offset points", fontsize=6, ha=side)
            text.set_in_layout(False)
            box = text.get_window_extent()
            inside = ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _colors(part: pd.DataFrame) -> np.ndarray:
    side = np.where(part["log2_fold_change"] > 0, HIGHER, LOWER)
    return np.where(part["fdr"] < ALPHA, side, OTHER)


def _named(part: pd.DataFrame) -> pd.Index:
    """Return the genes whose names are shown: those that differ most significantly."""
    return part[part["fdr"] < ALPHA].sort_values("p_value", kind="stable").index[:N_NAMES]
