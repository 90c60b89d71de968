"""Figures of one model's reference: loss curves and UMAP."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from refatlas.plots import apply_style, category_colors, draw_categories, place_panels, prepare_umap_axes


def plot_training(history: pd.DataFrame, model: str) -> plt.Figure:
    """Return the loss curves of each stage, on training and held-out cells.

    The figure of a model without epochs is a note.

    Args:
        history: training.csv: columns stage, epoch, and for each loss LOSS_train and
            LOSS_validation. The first loss is drawn.
    """
    apply_style()
    stages = list(history["stage"].unique())
    n_columns, height = max(len(stages), 1), 2.8 if stages else 0.5
    figure, axes = plt.subplots(1, n_columns, figsize=(4.5 * n_columns, height), squeeze=False)
    if not stages:
        axes[0, 0].text(0.5, 0.5, f"{model}: no epochs, fitted in closed form", ha="center", va="center")
        axes[0, 0].axis("off")
    for ax, stage in zip(axes[0], stages, strict=False):
        draw_loss(ax, history[history["stage"] == stage].dropna(axis="columns", how="all"), f"{model}: {stage}")
    figure.tight_layout()
    return figure


def draw_loss(ax: Axes, rows: pd.DataFrame, title: str) -> None:
    """Draw the loss curves of one stage. The steep first epochs may lie beyond the axis."""
    loss = next(column.removesuffix("_train") for column in rows if column.endswith("_train"))
    losses = rows[[column for column in (f"{loss}_train", f"{loss}_validation") if column in rows]]
    for column, label in zip(losses, ("training cells", "held-out cells"), strict=False):
        ax.plot(rows["epoch"], losses[column], label=label)
    start, low = losses.iloc[min(2, len(rows) // 5)].max(), losses.min().min()
    margin = 0.05 * (start - low) + 1e-3
    ax.set(
        title=title,
        xlabel="epoch",
        ylabel="negative ELBO per cell" if loss == "elbo" else "loss per cell",
        ylim=(low - margin, start + margin),
    )
    ax.legend()


def with_clusters(cells: pd.DataFrame, clusters: pd.Series) -> pd.DataFrame:
    """Return cells with their cluster as text, as the column cluster."""
    return cells.assign(cluster=clusters.loc[cells.index].astype(str))


def plot_reference_umap(umap: pd.DataFrame, cells: pd.DataFrame, model: str) -> plt.Figure:
    """Return the reference's UMAP by batch and, if it has them, by label and by cluster.

    Args:
        umap: umap.parquet. cells: columns batch, label and cluster, in the same order.
    """
    apply_style()
    columns = [name for name in ("batch", "label", "cluster") if name in cells and cells[name].notna().any()]
    figure, axes = plt.subplots(1, len(columns), figsize=(6.2 * len(columns), 4), squeeze=False)
    for ax, column in zip(axes[0], columns, strict=True):
        size = prepare_umap_axes(ax, umap.to_numpy(), f"{model}: reference by {column}")
        names = sorted(cells[column].dropna().unique(), key=int if column == "cluster" else None)
        palette = category_colors(names)
        draw_categories(ax, umap.to_numpy(), cells[column], palette, size)
    place_panels(axes)
    return figure
