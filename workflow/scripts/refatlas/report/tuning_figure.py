"""Figure of the trials of tuning: macro-F1 beside calibration error, and over each setting that was tried."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refatlas.plots import GREY, apply_style

DEFAULT, CHOSEN, OTHER = "#1d1f23", "#c4501b", "#2457a6"
COLUMNS = 3


def plot_trials(model: str, trials: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Return a figure of all trials that have scores.

    Args:
        model: name of the model.
        trials: trials.csv.
        names: columns of the settings.
    """
    apply_style()
    done = trials[trials["macro_f1"].notna()]
    n_rows = -(-(1 + len(names)) // COLUMNS)
    figure, axes = plt.subplots(
        n_rows, COLUMNS, figsize=(11, 3.2 * n_rows), layout="constrained", squeeze=False, sharey=True
    )
    first, *rest = axes.flat
    _draw(first, done["ece"].to_numpy(), done)
    first.set(xlabel="calibration error (ECE)", title="all scores")
    for ax, name in zip(rest, names, strict=False):
        _draw_setting(ax, done, name)
    for ax in rest[len(names) :]:
        ax.axis("off")
    for ax in axes[:, 0]:
        ax.set_ylabel("macro-F1, held-out batches")
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    n_failed = int((trials["status"] == "failed").sum())
    figure.suptitle(f"{model}: {len(done)} trials" + (f", {n_failed} failed" if n_failed else ""), fontsize=10)
    return figure


def _draw_setting(ax: Axes, done: pd.DataFrame, name: str) -> None:
    """Draw macro-F1 over one setting; of values that are no numbers, each has a place of its own."""
    values = done[name]
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any() or values.dtype == bool:
        known = sorted(set(values.astype(str)))
        _draw(ax, np.array([known.index(value) for value in values.astype(str)], dtype=float), done)
        ax.set_xticks(range(len(known)), known)
    else:
        _draw(ax, numbers.to_numpy(dtype=float), done)
        if numbers.min() > 0 and numbers.max() / numbers.min() > 20:
            # The style shows text as it is, and powers of ten would be formulas.
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel=name, title=name.split(".")[1])


def _draw(ax: Axes, x: np.ndarray, done: pd.DataFrame) -> None:
    """Draw macro-F1 of each trial with its standard error; the defaults and the chosen trial in colors of their own."""
    for part, color, size, label in (
        (
            ~done["chosen"] & (done["trial"] > 0),
            OTHER,
            24,
            "trial, with one standard error of its distance to the best",
        ),
        (done["trial"] == 0, DEFAULT, 70, "settings of the configuration"),
        (done["chosen"], CHOSEN, 34, "chosen"),
    ):
        rows = part.to_numpy()
        y, error = done["macro_f1"].to_numpy()[rows], done["standard_error"].to_numpy()[rows]
        ax.errorbar(x[rows], y, yerr=error, fmt="none", ecolor=GREY, elinewidth=1.5, zorder=1)
        marker = "D" if color == DEFAULT else "o"
        ax.scatter(x[rows], y, s=size, color=color, marker=marker, linewidths=0, label=label, zorder=2)
