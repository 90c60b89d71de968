"""Figures of a contrast: volcano plots and MA plots, one panel a label."""

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

N_PANELS, N_NAMES, N_COLUMNS = 12, 8, 3
HIGHER, LOWER, OTHER = "#c2410c", "#1d4ed8", "#b0b4ba"


def plot_volcanos(genes: pd.DataFrame, contrast: Mapping[str, Any]) -> Figure:
    """Return the change and its significance of all genes, for the labels with most genes that differ.

    Args:
        genes: of the comparison.
        contrast: its settings.
    """
    test, control = groups_of(contrast)

    def draw(ax: Axes, part: pd.DataFrame) -> None:
        known = part[part["p_value"].notna()]
        # A p-value may be smaller than the smallest number.
        height = -np.log10(known["p_value"].clip(lower=np.finfo(float).tiny))
        ax.scatter(known["log2_fold_change"], height, c=_colors(known), s=6, linewidths=0, rasterized=True)
        for i in _named(known):
            place = (known["log2_fold_change"].loc[i], height.loc[i])
            ax.annotate(known["symbol"].loc[i], place, xytext=(3, 2), textcoords="offset points", fontsize=6)
        ax.axvline(0, color="black", linewidth=0.5)
        ax.set(xlabel="log2 fold change", ylabel="−log10 p")

    figure = _panels(genes, draw)
    figure.suptitle(f"{test} (orange: higher) against {control} (blue: higher), FDR {ALPHA:.0%}", fontsize=10)
    return figure


def plot_ma(genes: pd.DataFrame) -> Figure:
    """Return the change of all genes by their mean, for the same labels.

    Args:
        genes: of the comparison.
    """

    def draw(ax: Axes, part: pd.DataFrame) -> None:
        ax.scatter(
            np.log10(part["base_mean"]), part["log2_fold_change"], c=_colors(part), s=6, linewidths=0, rasterized=True
        )
        ax.axhline(0, color="black", linewidth=0.5)
        ax.set(xlabel="log10 mean of normalised counts", ylabel="log2 fold change")

    return _panels(genes, draw)


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
        ax.set_title(f"{label if len(label) < 34 else label[:32] + '…'}: {n_differ:,} of {len(part):,}", fontsize=9)
    return figure


def _colors(part: pd.DataFrame) -> np.ndarray:
    side = np.where(part["log2_fold_change"] > 0, HIGHER, LOWER)
    return np.where(part["fdr"] < ALPHA, side, OTHER)


def _named(part: pd.DataFrame) -> pd.Index:
    """Return the genes whose names are shown: those that differ most significantly."""
    return part[part["fdr"] < ALPHA].sort_values("p_value", kind="stable").index[:N_NAMES]
