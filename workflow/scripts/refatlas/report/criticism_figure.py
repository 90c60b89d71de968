"""Figure of posterior predictive checks: what was observed against what a model replicates."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from refatlas.evaluate.criticism import LEVELS
from refatlas.plots import GREY, apply_style

ACCENT = "#2457a6"


def plot_criticism(title: str, part: str, genes: pd.DataFrame, curves: Mapping[str, np.ndarray]) -> Figure:
    """Return coefficients of variation and zero fractions of genes, and the coverage of predictive intervals.

    Args:
        title: of the figure.
        part: name of the cells that the first two panels show.
        genes: of `feature_table`, of these cells.
        curves: coverage at LEVELS, by name of the cells.
    """
    apply_style()
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    _scatter(axes[0], genes, "cv", f"coefficient of variation of genes, {part} cells", log=True)
    _scatter(axes[1], genes, "zero_fraction", f"share of zeros of genes, {part} cells", log=False)
    axes[2].plot([0, 1], [0, 1], color=GREY, linewidth=2)
    for name, curve in curves.items():
        axes[2].plot(LEVELS, curve, marker="o", markersize=3, linewidth=1, label=name)
    axes[2].set(title="predictive intervals", xlabel="width of the interval", ylabel="share of counts inside")
    axes[2].set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[2].legend(loc="upper left", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _scatter(ax: Axes, genes: pd.DataFrame, name: str, title: str, log: bool) -> None:
    found = genes[[f"{name}_observed", f"{name}_replicated"]].dropna()
    if log:
        found = found[(found > 0).all(axis=1)]
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            # The style shows text as it is, and powers of ten would be formulas.
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    observed, replicated = found.to_numpy().T
    ends = (found.to_numpy().min(initial=1), found.to_numpy().max(initial=1)) if log else (0, 1)
    ax.plot(ends, ends, color=GREY, linewidth=2)
    ax.scatter(observed, replicated, s=5, linewidths=0, color=ACCENT, alpha=0.5, rasterized=True)
    ax.set(xlabel="observed", ylabel="replicated", title=title)
    ax.title.set_fontsize(9)
