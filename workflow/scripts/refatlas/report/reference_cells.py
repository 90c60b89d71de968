"""The cells of the reference that the report shows."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from refatlas.io.cell_tables import label_columns, read_values
from refatlas.report.explorer import stratified_sample


def shown_cells(
    cells: pd.DataFrame, umaps: Mapping[str, str], clusters: Mapping[str, pd.Series], max_cells: int, seed: int
) -> pd.DataFrame:
    """Return the cells of the reference that the index shows, at most so many: a sample that keeps every label.

    Args:
        cells: label levels, batch and dataset, indexed by cell, in the order of the models' tables.
        umaps: path of umap.parquet, by model.
        clusters: of each cell at the suggested resolution, by model.
        max_cells: most cells to show.
        seed: seed of the sample.

    Returns:
        The same columns as categories, "umap_1 {model}" and "umap_2 {model}", "cluster {model}", and row, the row of
        each cell in the models' tables.
    """
    rows = stratified_sample(finest(cells), max_cells, seed)
    found = cells.iloc[rows].astype("category")
    for model, labels in clusters.items():
        found[f"cluster {model}"] = labels.reindex(found.index).astype("category")
    for model, path in umaps.items():
        places = read_values(path)[rows]
        for i in range(2):
            found[f"umap_{i + 1} {model}"] = places[:, i].astype(np.float32)
    return found.assign(row=rows)


def background_cells(shown: pd.DataFrame, cells: pd.DataFrame, latent: str, n_cells: int, seed: int) -> pd.DataFrame:
    """Return the cells of the reference that are shown below each query, at most so many.

    Args:
        shown: of `shown_cells`.
        cells: of the whole reference.
        latent: path of the latent space in which presence is measured.
        n_cells: most cells.
        seed: seed of the sample.

    Returns:
        The same columns without row and clusters; weight, the number of reference cells that each cell stands for;
        and the latent space, latent_1 and so on.
    """
    found = shown.iloc[stratified_sample(finest(shown), n_cells, seed)]
    weights = finest(found).map(finest(cells).value_counts() / finest(found).value_counts())
    values = read_values(latent)[found["row"]]
    space = pd.DataFrame(values, index=found.index, columns=[f"latent_{i + 1}" for i in range(values.shape[1])])
    kept = found[[name for name in found if name != "row" and not name.startswith("cluster ")]]
    return kept.assign(weight=weights.astype(float)).join(space)


def finest(cells: pd.DataFrame) -> pd.Series:
    """Return the finest label of each cell, "" where it has none; its batch, where no cell has labels."""
    column = cells["label"] if "label" in label_columns(cells) else cells["batch"]
    return column.astype(object).where(column.notna(), "")
