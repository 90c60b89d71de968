"""Figure of all models of a run, side by side."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from refatlas.plots import apply_style


class Measure(NamedTuple):
    """A column of the figure.

    Attributes:
        title: of two short lines.
        better: 1 if higher values are better, -1 if lower ones are, 0 if neither is.
        text: how a value is printed.
    """

    title: str
    better: int
    text: str = "{:.3f}"


# Groups of columns, from left to right.
GROUPS: dict[str, dict[str, Measure]] = {
    "held-out labels": {"macro_f1": Measure("macro\nF1", 1), "accuracy": Measure("accu-\nracy", 1)},
    "integration": {
        "total": Measure("total\nscore", 1),
        "bio": Measure("biology", 1),
        "batch": Measure("batch", 1),
        "ilisi": Measure("iLISI", 1),
        "pcr_comparison": Measure("PC\nregression", 1),
        "kbet": Measure("kBET", 1),
    },
    "clusters": {
        "n_clusters": Measure("number", 0, "{:,.0f}"),
        "stability": Measure("stability", 1),
        "batch_agreement": Measure("batch\nagreement", 1),
        "n_only_clusters": Measure("only\nhere", 0, "{:,.0f}"),
        "n_lost_labels": Measure("labels\nlost", -1, "{:,.0f}"),
    },
    "training": {
        "epochs": Measure("epochs", 0, "{:,.0f}"),
        "train_seconds": Measure("time (s)", -1, "{:,.0f}"),
        "train_peak_mb": Measure("memory\n(MB)", -1, "{:,.0f}"),
    },
}
# In inches, and the space between groups in cells.
WIDTH, HEIGHT, GAP = 0.72, 0.34, 0.25
# The darkest color still shows black text.
COLORS, DARKEST = "Blues", 0.6


def plot_model_choice(table: pd.DataFrame) -> plt.Figure:
    """Return one row of values per model, colored within each measure: the darker, the better.

    Measures that no model has are left out. Those of which neither high nor low values are better have no color.

    Args:
        table: models.csv, drawn in its order.
    """
    apply_style()
    groups = {
        title: {column: measure for column, measure in measures.items() if table[column].notna().any()}
        for title, measures in GROUPS.items()
    }
    groups = {title: measures for title, measures in groups.items() if measures}
    n_columns = sum(map(len, groups.values())) + GAP * max(len(groups) - 1, 0)
    names = [name if len(name) < 40 else name[:38] + "…" for name in table["model"]]
    figure, ax = plt.subplots(
        figsize=(WIDTH * n_columns + 0.3 + 0.07 * max(map(len, names)), HEIGHT * len(table) + 0.8)
    )
    left = 0.0
    for title, measures in groups.items():
        _draw_group(ax, title, left, len(measures))
        for place, (column, measure) in enumerate(measures.items()):
            _draw_measure(ax, table[column].astype(float).to_numpy(), measure, left + place)
        left += len(measures) + GAP
    ax.set(xlim=(0, max(n_columns, 1)), ylim=(len(table), -1.7))
    ax.set_yticks(np.arange(len(table)) + 0.5, names)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


def _draw_group(ax: Axes, title: str, left: float, n_columns: int) -> None:
    """Draw the title of some columns, and a line below it."""
    ax.text(left + 0.05, -1.25, title, fontweight="bold", fontsize=8.5, va="bottom")
    ax.plot([left + 0.05, left + n_columns - 0.05], [-1.18, -1.18], color="#7d8794", linewidth=0.8)


def _draw_measure(ax: Axes, values: np.ndarray, measure: Measure, left: float) -> None:
    """Draw one column: its title, and a cell for the value of each model."""
    ax.text(left + 0.5, -0.12, measure.title, ha="center", va="bottom", fontsize=7.5, linespacing=0.95)
    shades = _shades(values, measure.better)
    best = np.nanmax(measure.better * values) if measure.better else np.nan
    for row, (value, shade) in enumerate(zip(values, shades, strict=True)):
        color = "white" if np.isnan(shade) else plt.get_cmap(COLORS)(shade)
        ax.add_patch(plt.Rectangle((left, row), 1, 1, facecolor=color, edgecolor="white", linewidth=1.5))
        is_best = measure.better * value == best and not np.isnan(shade)
        ax.text(
            left + 0.5,
            row + 0.52,
            "–" if np.isnan(value) else measure.text.format(value),
            ha="center",
            va="center",
            fontsize=8,
            color="#7d8794" if np.isnan(value) else "black",
            fontweight="bold" if is_best else "normal",
        )


def _shades(values: np.ndarray, better: int) -> np.ndarray:
    """Return the place of each value in the range of all, from 0 for the worst; NaN for no color."""
    known = values[~np.isnan(values)]
    span = known.max() - known.min() if len(known) else 0
    if not better or span == 0:
        return np.full(len(values), np.nan)
    share = (values - known.min()) / span
    return DARKEST * (share if better > 0 else 1 - share)
