"""What the explorer of an embedding shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Column:
    """One way to colour the cells.

    Attributes:
        name: shown to the user, such as "label", "confidence" or "batch".
        kind: "category" or "number".
        values: one per cell; missing values are allowed. Categories of a pandas Categorical keep their order, and so
            their colours; others are sorted by name.
        group: "cells", "reference" or "genes": the heading in the menu.
    """

    name: str
    kind: str
    values: pd.Series | np.ndarray
    group: str = "cells"


@dataclass(frozen=True)
class ExplorerData:
    """The cells of an explorer.

    Attributes:
        cells: barcodes.
        is_query: whether each cell is of the query.
        places: by model, shape (n_cells, 2); NaN where a model has no place for a cell.
        columns: ways to colour the cells; the first is shown at first.
        genes: sparse log-normalized expression, shape (n_cells, n_genes); rows without values are not measured.
        gene_names: of the columns of `genes`.
        note: shown below, such as that these cells are a sample.
        file_name: of the csv file that is saved, without its ending.
    """

    cells: Sequence[str]
    is_query: np.ndarray
    places: Mapping[str, np.ndarray]
    columns: Sequence[Column]
    genes: Any = None
    gene_names: Sequence[str] = ()
    note: str = ""
    file_name: str = "cells"

    def __post_init__(self) -> None:
        """Check that all parts are of the same cells.

        Raises:
            ValueError: if a part has another number of cells, if nothing can be shown, or a kind is unknown.
        """
        if not self.places or not self.columns or not len(self.cells):
            raise ValueError("an explorer needs cells, the places of one model, and a column")
        sizes = {"is_query": len(self.is_query)}
        sizes |= {f"places of {model}": len(places) for model, places in self.places.items()}
        sizes |= {f"column {column.name}": len(column.values) for column in self.columns}
        if self.genes is not None:
            sizes["genes"] = self.genes.shape[0]
        wrong = {name: size for name, size in sizes.items() if size != len(self.cells)}
        if wrong:
            raise ValueError(f"parts of an explorer of {len(self.cells)} cells have other numbers of cells: {wrong}")
        if self.genes is not None and self.genes.shape[1] != len(self.gene_names):
            raise ValueError(f"{len(self.gene_names)} gene names for {self.genes.shape[1]} genes")
        kinds = {column.kind for column in self.columns} - {"category", "number"}
        if kinds:
            raise ValueError(f"unknown kinds of columns {sorted(kinds)}: expected category or number")
