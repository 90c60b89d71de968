"""Figures of one model's reference: how training went, and its UMAP."""

import matplotlib.pyplot as plt
import pandas as pd

from refatlas.plots import by_category, colors, scatter


def draw_training(history: pd.DataFrame, model: str) -> plt.Figure:
    """Return loss curves by stage, on training and held-out cells: of the loss that stands first. A
    note where training has no epochs.
    """
    stages = list(history["stage"].unique()) if len(history) else [None]
    height = 2.8 if stages[0] else 0.5
    figure, axes = plt.subplots(1, len(stages), figsize=(4.5 * len(stages), height), squeeze=False)
    for ax, stage in zip(axes[0], stages, strict=True):
        if stage is None:
            ax.text(0.5, 0.5, f"{model}: no epochs, fitted in closed form", ha="center", va="center")
            ax.axis("off")
            continue
        rows = history[history["stage"] == stage].dropna(axis="columns", how="all")
        loss = next(column.removesuffix("_train") for column in rows if column.endswith("_train"))
        losses = rows[[column for column in (f"{loss}_train", f"{loss}_validation") if column in rows]]
        for column, label in zip(losses, ("training cells", "held-out cells"), strict=False):
            ax.plot(rows["epoch"], losses[column], label=label)
        start, low = losses.iloc[min(2, len(rows) // 5)].max(), losses.min().min()
        ax.set(
            title=f"{model}: {stage}",
            xlabel="epoch",
            ylabel="negative ELBO per cell" if loss == "elbo" else "loss per cell",
            ylim=(low - 0.05 * (start - low) - 1e-3, start + 0.05 * (start - low) + 1e-3),
        )
        ax.legend()
    figure.tight_layout()
    return figure


def draw_umap(umap: pd.DataFrame, cells: pd.DataFrame, model: str) -> plt.Figure:
    """Return the reference by batch and, where it has labels, by label."""
    columns = ["batch"] + (["label"] if "label" in cells else [])
    figure, axes = plt.subplots(1, len(columns), figsize=(6.2 * len(columns), 4), squeeze=False)
    for ax, column in zip(axes[0], columns, strict=True):
        size = scatter(ax, umap.to_numpy(), f"{model}: reference by {column}")
        by_category(ax, umap.to_numpy(), cells[column], colors(sorted(cells[column].dropna().unique())), size)
    figure.tight_layout()
    return figure
