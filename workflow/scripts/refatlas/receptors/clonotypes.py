"""Clonotypes: cells whose receptors have the same CDR3 amino acids in both chains, and tables of them.

Only cells with a pair belong to a clonotype. With V genes, these must be the same as well.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from refatlas.receptors.sequences import PAIRED, STATUSES

# Clonotypes of at least so many cells are called expanded.
EXPANDED = 2
# What a clonotype's cells may be of.
GROUPINGS = ("batch", "label")


def clonotypes_of(receptors: pd.DataFrame, v_genes: bool) -> pd.Series:
    """Return the clonotype of each cell, named by its sequences; None for a cell without one.

    Args:
        receptors: see `refatlas.receptors.sequences`.
        v_genes: whether the V genes (without allele) are part of it; a cell with an unknown one then has none.
    """
    found = receptors["alpha"].astype(str) + "_" + receptors["beta"].astype(str)
    known = receptors["status"] == PAIRED
    if v_genes:
        genes = {kind: receptors[f"{kind}_v"].map(_without_allele) for kind in ("alpha", "beta")}
        known &= genes["alpha"].notna() & genes["beta"].notna()
        chains = [genes[kind].astype(str) + ":" + receptors[kind].astype(str) for kind in genes]
        found = chains[0] + "_" + chains[1]
    return found.astype(object).where(known, None).rename("clonotype")


def _without_allele(gene: str | None) -> str | None:
    return gene.split("*")[0] if isinstance(gene, str) and gene else None


def clonotype_cells(cells: pd.DataFrame, receptors: pd.DataFrame, v_genes: bool) -> pd.DataFrame:
    """Return one row per cell: batch, label, status, clonotype, CDR3s, numbers of chains, and cells of its clonotype.

    Args:
        cells: batch and, where there are labels, label; indexed by cell.
        receptors: of these cells.
    """
    own = receptors.loc[cells.index]
    found = own[["status", "alpha", "beta", "n_alpha", "n_beta"]].rename(
        columns={"alpha": "cdr3_alpha", "beta": "cdr3_beta"}
    )
    found.insert(0, "batch", cells["batch"].to_numpy())
    label = cells["label"] if "label" in cells else pd.Series(None, index=cells.index, dtype=object)
    found.insert(1, "label", label.astype(object).where(label.notna(), None))
    found.insert(3, "clonotype", clonotypes_of(own, v_genes))
    sizes = found["clonotype"].value_counts()
    return found.assign(clonotype_size=found["clonotype"].map(sizes).fillna(0).astype(int))


def clonotype_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one row per clonotype, the largest first: cells, and the batches and labels that it spans.

    Args:
        cells: of `clonotype_cells`.
    """
    own = cells[cells["clonotype"].notna()]
    names = own["clonotype"].drop_duplicates().sort_values()
    first = own.drop_duplicates("clonotype").set_index("clonotype").loc[names]
    table = first[["cdr3_alpha", "cdr3_beta"]].assign(n_cells=own["clonotype"].value_counts().loc[names])
    for key, plural in (("batch", "batches"), ("label", "labels")):
        table[f"n_{plural}"] = own.groupby("clonotype")[key].nunique().reindex(names).astype(int)
        table[plural] = _counted(own, key).reindex(names, fill_value="")
    table.index.name = "clonotype"
    return table.reset_index().sort_values(["n_cells", "clonotype"], ascending=[False, True], ignore_index=True)


def _counted(cells: pd.DataFrame, key: str) -> pd.Series:
    """Return the values of a column in each clonotype with their numbers of cells, the most frequent first."""
    counts = cells.groupby(["clonotype", key]).size().rename("n").reset_index()
    counts = counts.sort_values(["clonotype", "n", key], ascending=[True, False, True], kind="stable")
    texts = counts[key].astype(str) + " (" + counts["n"].astype(str) + ")"
    return texts.groupby(counts["clonotype"]).agg("; ".join) if len(counts) else pd.Series(dtype=object)


def group_table(cells: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return one row per batch or label: cells, cells by status, clonotypes, and how far they are expanded.

    Expansion is counted within the group: a clonotype with one cell in each of two batches is expanded in neither.

    Args:
        cells: of `clonotype_cells`. key: batch or label.
    """
    rows = [{key: name, **_expansion(own)} for name, own in cells.groupby(key, sort=True)]
    return pd.DataFrame(rows, columns=[key, *_expansion(cells.iloc[:0])])


def _expansion(cells: pd.DataFrame) -> dict[str, Any]:
    sizes = cells["clonotype"].value_counts()
    n, expanded = int(sizes.sum()), sizes[sizes >= EXPANDED]
    statuses = cells["status"].value_counts()
    return {
        "n_cells": len(cells),
        **{f"n_{status}": int(statuses.get(status, 0)) for status in STATUSES},
        "n_two_alpha": int(((cells["n_alpha"] > 1) & (cells["status"] == PAIRED)).sum()),
        "n_two_beta": int(((cells["n_beta"] > 1) & (cells["status"] == PAIRED)).sum()),
        "n_clonotypes": len(sizes),
        "n_expanded": len(expanded),
        "cells_expanded": int(expanded.sum()),
        "share_expanded": float(expanded.sum() / n) if n else np.nan,
        "largest": int(sizes.max()) if n else 0,
    }


def overlap_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of batches, and of labels, that share clonotypes, with Morisita and Horn's similarity.

    The index is 0 for repertoires without a shared clonotype, 1 for the same shares of all (Horn 1966).

    Args:
        cells: of `clonotype_cells`.
    """
    rows = []
    for key in GROUPINGS:
        own = cells[cells["clonotype"].notna() & cells[key].notna()]
        sizes = {name: part["clonotype"].value_counts() for name, part in own.groupby(key, sort=True)}
        for first, second in combinations(sizes, 2):
            shared = sizes[first].index.intersection(sizes[second].index)
            if len(shared):
                rows.append(
                    {
                        "grouping": key,
                        "first": first,
                        "second": second,
                        "n_shared": len(shared),
                        "cells_first": int(sizes[first][shared].sum()),
                        "cells_second": int(sizes[second][shared].sum()),
                        "morisita_horn": morisita_horn(sizes[first], sizes[second]),
                    }
                )
    columns = ["grouping", "first", "second", "n_shared", "cells_first", "cells_second", "morisita_horn"]
    return pd.DataFrame(rows, columns=columns)


def morisita_horn(first: pd.Series, second: pd.Series) -> float:
    """Return Morisita and Horn's similarity of two repertoires.

    Args:
        first, second: cells by clonotype.
    """
    x, y = (first / first.sum()).align(second / second.sum(), fill_value=0.0)
    return float(2 * (x * y).sum() / ((x**2).sum() + (y**2).sum()))


def with_reference(table: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return clonotypes of a query with how many cells, and which batches and labels, they have in the reference.

    Args:
        table, reference: of `clonotype_table`.
    """
    known = reference.set_index("clonotype")[["n_cells", "batches", "labels"]].add_prefix("reference_")
    found = table.join(known, on="clonotype").rename(columns={"reference_n_cells": "reference_cells"})
    found["reference_cells"] = pd.to_numeric(found["reference_cells"]).fillna(0).astype(int)
    return found.fillna({"reference_batches": "", "reference_labels": ""})


def summary_of(cells: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """Return numbers of a reference or a query: those of `group_table` over all cells, and of sharing.

    Args:
        cells: of `clonotype_cells`. table: of `clonotype_table`, of a query `with_reference`.
    """
    found = _expansion(cells)
    found["n_labelled"] = int(cells["label"].notna().sum())
    found["in_several_batches"] = int((table["n_batches"] > 1).sum())
    found["in_several_labels"] = int((table["n_labels"] > 1).sum())
    if "reference_cells" in table:
        known = table["reference_cells"] > 0
        found["n_in_reference"] = int(known.sum())
        found["cells_in_reference"] = int(table.loc[known, "n_cells"].sum())
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in found.items()}
