"""Figure of one query in the UMAPs of the reference."""

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from refatlas.plots import GREY, apply_style, category_colors, draw_categories, place_panels, prepare_umap_axes
from refatlas.transfer.label_table import pick

MAX_DRAWN = 50_000


class MappedCells(NamedTuple):
    """A query mapped by one model.

    Attributes:
        reference: UMAP of the reference, or of some of its cells, shape (n_reference, 2).
        query: umap.parquet of the query.
        labels: labels.parquet of the query; None if the reference has no labels.
    """

    reference: np.ndarray
    query: pd.DataFrame
    labels: pd.DataFrame | None


def drawn_places(places: np.ndarray) -> np.ndarray:
    """Return the places of at most MAX_DRAWN cells, drawn at random: in grey, more look the same and take a minute."""
    return places[np.sort(np.random.default_rng(0).permutation(len(places))[:MAX_DRAWN])]


def plot_query(query: str, models: dict[str, MappedCells], cells: pd.DataFrame) -> plt.Figure:
    """Return one row of panels per model: kNN label, its confidence and, if known, true label.

    Args:
        query: name of the query.
        models: the mapped query by model.
        cells: cells.parquet of the query; the true labels are its column label, if it has one.
    """
    apply_style()
    truth = cells.get("label")
    if any(mapped.labels is None for mapped in models.values()):
        return _plot_batches(query, models, cells["batch"])
    transferred = {
        model: pick(mapped.labels, "knn").loc[mapped.query.index]
        for model, mapped in models.items()
        if mapped.labels is not None
    }
    palette = category_colors(_label_names(transferred, truth))
    n_columns = 2 if truth is None else 3
    figure, axes = plt.subplots(len(models), n_columns, figsize=(5.6 * n_columns, 3.8 * len(models)), squeeze=False)
    for row, (model, mapped) in zip(axes, models.items(), strict=True):
        _draw_reference(row, mapped, f"{query} on {model}: label")
        umap, labels = mapped.query.to_numpy(), transferred[model]
        size = float(np.clip(15_000 / len(umap), 2, 12))
        draw_categories(row[0], umap, labels["label"], palette, size)
        _draw_confidence(row[1], umap, labels["confidence"].to_numpy(), size)
        if truth is not None:
            draw_categories(row[2], umap, truth.loc[mapped.query.index], palette, size)
    place_panels(axes)
    return figure


def _plot_batches(query: str, models: dict[str, MappedCells], batches: pd.Series) -> plt.Figure:
    """Return one panel per model, with the query's cells by batch."""
    palette = category_colors(sorted(batches.unique()))
    figure, axes = plt.subplots(len(models), 1, figsize=(5.6, 3.8 * len(models)), squeeze=False)
    for row, (model, mapped) in zip(axes, models.items(), strict=True):
        _draw_reference(row, mapped, f"{query} on {model}: batch")
        umap = mapped.query.to_numpy()
        size = float(np.clip(15_000 / len(umap), 2, 12))
        draw_categories(row[0], umap, batches.loc[mapped.query.index], palette, size)
    place_panels(axes)
    return figure


def _label_names(transferred: dict[str, pd.DataFrame], truth: pd.Series | None) -> list[str]:
    found = set() if truth is None else set(truth.dropna())
    return sorted(found.union(*(labels["label"] for labels in transferred.values())))


def _draw_reference(row: np.ndarray, mapped: MappedCells, title: str) -> None:
    """Draw the reference in grey in each panel."""
    everything = np.vstack([mapped.reference, mapped.query.to_numpy()])
    for ax, panel_title in zip(row, (title, "confidence", "true label"), strict=False):
        size = prepare_umap_axes(ax, everything, panel_title)
        ax.scatter(*mapped.reference.T, c=GREY, s=size, linewidths=0, rasterized=True)


def _draw_confidence(ax: Axes, umap: np.ndarray, confidence: np.ndarray, size: float) -> None:
    """Draw cells by confidence, the uncertain ones on top."""
    order = np.argsort(-confidence)
    x, y = umap[order].T
    style: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 1, "linewidths": 0, "rasterized": True}
    points = ax.scatter(x, y, c=confidence[order], s=size, **style)
    # Beside the panel, as legends are: a colour bar that takes its place from the panel would make it narrower.
    ax.figure.colorbar(points, cax=ax.inset_axes((1.02, 0.15, 0.03, 0.7)))
