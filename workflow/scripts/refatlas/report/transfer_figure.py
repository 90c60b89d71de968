"""Figure of the held-out evaluation."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from refatlas.plots import GREY

ACCENT = "#2457a6"


def source_names(table: pd.DataFrame) -> pd.Series:
    """Return readable names of the sources in a table."""
    return (table["model"] + " " + table["source"]).replace(
        {"delivered all sources": "delivered", "majority majority": "majority"}
    )


def draw_scores(ax, scores: pd.DataFrame) -> None:
    """Draw macro-F1 of each source with its interval over held-out batches, the best on top."""
    scores = scores.sort_values("macro_f1")
    color = [ACCENT if name == "delivered" else "#7d8794" for name in scores["name"]]
    ax.hlines(scores["name"], scores["macro_f1_low"], scores["macro_f1_high"], color=color, linewidth=1.5, alpha=0.5)
    ax.scatter(scores["macro_f1"], scores["name"], color=color, s=28, zorder=3)
    ax.set(title="macro-F1 on held-out batches", xlabel="mean over batches, 95 % interval", xlim=(0, 1))


def draw_reliability(ax, bins: pd.DataFrame) -> None:
    """Draw accuracy against confidence of the delivered labels; points grow with their number of
    cells.
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
        ylabel="share of right labels",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
        aspect="equal",
    )


def draw(transfer: pd.DataFrame, bins: pd.DataFrame) -> plt.Figure:
    """Return the figure of the folds; without folds, a line that says so."""
    scores = transfer[(transfer["split"] == "folds") & (transfer["level"] == 1)]
    if scores.empty:
        figure, ax = plt.subplots(figsize=(6, 1))
        ax.text(0, 0.5, "no batch was held out (evaluation.folds is 0): nothing to show")
        ax.set_axis_off()
        return figure
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.6 + 0.32 * max(len(scores), 10)))
    draw_scores(axes[0], scores.assign(name=source_names(scores)))
    in_folds = bins["split"].str.startswith("fold_") & (bins["model"] == "delivered") & (bins["level"] == 1)
    draw_reliability(axes[1], bins[in_folds])
    figure.tight_layout()
    return figure
