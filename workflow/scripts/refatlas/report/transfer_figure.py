"""Figure of the held-out evaluation."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from refatlas.plots import GREY, apply_style

ACCENT, MUTED = "#2457a6", "#7d8794"


def plot_transfer(transfer: pd.DataFrame, reliability: pd.DataFrame) -> plt.Figure:
    """Return the scores of all sources on held-out batches, and the labels' reliability.

    A line of text without folds.

    Args:
        transfer: transfer.csv. reliability: transfer_reliability.csv.
    """
    apply_style()
    scores = transfer[(transfer["split"] == "folds") & (transfer["level"] == 1)]
    if scores.empty:
        figure, ax = plt.subplots(figsize=(6, 1))
        ax.text(0, 0.5, "no batch was held out (evaluation.folds is 0): nothing to show")
        ax.set_axis_off()
        return figure
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.6 + 0.32 * max(len(scores), 10)))
    draw_scores(axes[0], scores.assign(name=source_names(scores)))
    in_folds = reliability["split"].str.startswith("fold_")
    delivered = (reliability["model"] == "delivered") & (reliability["level"] == 1)
    draw_reliability(axes[1], reliability[in_folds & delivered])
    figure.tight_layout()
    return figure


def source_names(table: pd.DataFrame) -> pd.Series:
    """Return the names of the sources in a table, as text for the figure."""
    return (table["model"] + " " + table["source"]).replace(
        {"delivered all sources": "delivered", "majority majority": "majority"}
    )


def draw_scores(ax: Axes, scores: pd.DataFrame) -> None:
    """Draw macro-F1 of each source with its interval over held-out batches, the best on top."""
    scores = scores.sort_values("macro_f1")
    color = [ACCENT if name == "delivered" else MUTED for name in scores["name"]]
    ax.hlines(scores["name"], scores["macro_f1_low"], scores["macro_f1_high"], color=color, linewidth=1.5, alpha=0.5)
    ax.scatter(scores["macro_f1"], scores["name"], color=color, s=28, zorder=3)
    ax.set(title="macro-F1 on held-out batches", xlabel="mean over batches, 95 % interval", xlim=(0, 1))


def draw_reliability(ax: Axes, bins: pd.DataFrame) -> None:
    """Draw accuracy in bins of confidence, over all folds.

    The area of a point grows with its number of cells.
    """
    bins = bins.groupby("from").apply(
        lambda b: pd.Series(
            {c: np.average(b[c], weights=b["n_cells"]) for c in ("confidence", "accuracy")}
            | {"n_cells": b["n_cells"].sum()}
        ),
        include_groups=False,
    )
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1.5, zorder=1)
    ax.plot(bins["confidence"], bins["accuracy"], color=ACCENT, linewidth=1)
    ax.scatter(bins["confidence"], bins["accuracy"], color=ACCENT, s=12 + 150 * bins["n_cells"] / bins["n_cells"].sum())
    ax.set(
        title="delivered labels: confidence and accuracy",
        xlabel="confidence",
        ylabel="share of correct labels",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
        aspect="equal",
    )
