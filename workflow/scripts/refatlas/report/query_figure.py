"""Figure of one query over the reference."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from refatlas.plots import GREY, by_category, colors, scatter
from refatlas.transfer.label_table import pick


def draw_query(query: str, models: dict[str, dict], cells: pd.DataFrame) -> plt.Figure:
    """Return one row of panels a model; `models` holds reference (places), query (UMAP) and labels
    of each.
    """
    truth = cells.get("label")
    given = {name: pick(parts["labels"], "knn").loc[parts["query"].index] for name, parts in models.items()}
    names = set().union(
        *(set(labels["label"]) for labels in given.values()), set() if truth is None else set(truth.dropna())
    )
    palette, n_columns = colors(sorted(names)), 2 if truth is None else 3
    figure, axes = plt.subplots(len(models), n_columns, figsize=(5.6 * n_columns, 3.8 * len(models)), squeeze=False)
    for row, (name, parts) in zip(axes, models.items(), strict=True):
        reference, umap, labels = parts["reference"], parts["query"].to_numpy(), given[name]
        titles = [f"{query} on {name}: label", "confidence", "true label"]
        for ax, title in zip(row, titles, strict=False):
            size = scatter(ax, np.vstack([reference, umap]), title)
            ax.scatter(*reference.T, c=GREY, s=size, linewidths=0, rasterized=True)
        size = float(np.clip(15_000 / len(umap), 2, 12))
        by_category(row[0], umap, labels["label"], palette, size)
        order = np.argsort(-labels["confidence"].to_numpy())
        points = row[1].scatter(
            *umap[order].T,
            c=labels["confidence"].to_numpy()[order],
            s=size,
            linewidths=0,
            cmap="viridis",
            vmin=0,
            vmax=1,
            rasterized=True,
        )
        figure.colorbar(points, ax=row[1], shrink=0.7)
        if truth is not None:
            by_category(row[2], umap, truth.loc[parts["query"].index], palette, size)
    figure.tight_layout()
    return figure
