"""Denoised RNA and proteins of cells by totalVI (Gayoso 2021).

Proteins that were not measured are imputed.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

# Cells computed at a time; most batches that values are averaged over; counts per cell of
# denoised RNA.
BLOCK = 4096
MAX_BATCHES = 10
CELL_COUNTS = 1e4
# What `protein_facts` says of a protein that a model knows nothing of.
UNKNOWN = "none: no batch of the reference measured it"
# Where a sample of a reference has what the whole reference measured.
OF_REFERENCE = "measured_proteins"


class KnownProteins(NamedTuple):
    """What a reference measured.

    Attributes:
        measured: batches × proteins, boolean.
        sizes: number of cells of each batch.
    """

    measured: pd.DataFrame
    sizes: pd.Series


def denoised_tables(
    model: Any, counts: AnnData, reference: AnnData, outputs: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """Return denoised proteins of cells, and RNA if requested.

    Values are means over draws from the posterior, and over the reference's largest batches that
    measured the protein, as if the cells were of these batches. So cells of the reference and of
    queries are on one scale. A protein that no batch of the reference measured has no values.

    Args:
        model: TOTALVI of scvi-tools.
        counts: of the cells, with proteins in obsm.
        reference: counts of the reference, likewise, or a sample of them: see `attach_known`.
        outputs: the settings of that name.

    Returns:
        proteins: cells × proteins, denoised counts.
        protein_facts: see `protein_facts`.
        rna: cells × genes, denoised, for 10,000 counts per cell; only if requested.
    """
    known = known_proteins(reference)
    parts = [
        _denoised_proteins(model, counts, names, batches, outputs)
        for batches, names in shared_batches(known.measured, known.sizes)
        if batches
    ]
    found = {
        "proteins": _all_proteins(parts, counts.obs_names, list(known.measured.columns)),
        "protein_facts": protein_facts(counts, reference),
    }
    if outputs["rna"]:
        batches = largest(known.sizes, list(known.measured.index))
        found["rna"] = _denoised(model, counts, 0, outputs["n_samples"], transform_batch=batches) * np.float32(
            CELL_COUNTS
        )
    return found


def _all_proteins(parts: list[pd.DataFrame], cells: pd.Index, names: list[str]) -> pd.DataFrame:
    """Return the values of all proteins, cells × proteins; missing for those of no part."""
    found = pd.concat([pd.DataFrame(index=cells.rename("cell")), *parts], axis=1)
    return found.reindex(columns=names).astype(np.float32)


def _denoised_proteins(
    model: Any, counts: AnnData, names: list[str], batches: list[str], outputs: dict[str, Any]
) -> pd.DataFrame:
    # One gene only: RNA is computed in any case, and would fill the memory.
    options = {
        "protein_list": names,
        "gene_list": list(counts.var_names[:1]),
        "include_protein_background": outputs["background"],
    }
    parts = (
        _denoised(model, counts, 1, outputs["n_samples"], transform_batch=[batch], **options)
        * efficiencies(model, batch)[names]
        for batch in batches
    )
    return sum(parts, start=np.float32(0)) / np.float32(len(batches))


def efficiencies(model: Any, batch: str) -> pd.Series:
    """Return the factor from totalVI's rate of each protein to the counts of a batch.

    scvi-tools treats it as a nuisance and leaves it out of denoised values, which then are about e
    times the counts: efficiencies are near 1/e, the mode of their prior.
    """
    place = [str(name) for name in model.adata_manager.get_state_registry("batch").categorical_mapping].index(batch)
    values = np.exp(model.module.log_per_batch_efficiency.detach().cpu().numpy()[:, place])
    return pd.Series(values.astype(np.float32), index=list(model.protein_state_registry.column_names))


def _denoised(model: Any, counts: AnnData, part: int, n_samples: int, **options: Any) -> pd.DataFrame:
    """Return RNA (part 0) or proteins (part 1), cells × features, float32, computed in blocks."""
    blocks = [np.arange(start, min(start + BLOCK, counts.n_obs)) for start in range(0, counts.n_obs, BLOCK)]
    values = [
        model.get_normalized_expression(counts, indices=block, n_samples=n_samples, batch_size=512, **options)[part]
        for block in blocks
    ]
    return pd.concat(values).astype(np.float32).rename_axis("cell")


def measured_proteins(counts: AnnData) -> pd.DataFrame:
    """Return batches × proteins: whether any cell of the batch has a count.

    This is how totalVI knows what was measured.
    """
    proteins = pd.DataFrame(counts.obsm["proteins"], columns=list(counts.uns["protein_names"]))
    return proteins.groupby(counts.obs["batch"].astype(str).to_numpy()).max() > 0


def known_proteins(reference: AnnData) -> KnownProteins:
    """Return what a reference measured: as attached to a sample of it, or by its counts."""
    if OF_REFERENCE not in reference.uns:
        return KnownProteins(measured_proteins(reference), batch_sizes(reference.obs["batch"]))
    table = reference.uns[OF_REFERENCE]
    measured = table.set_index(["batch", "protein"])["measured"].unstack()
    return KnownProteins(measured[list(table["protein"].unique())], table.groupby("batch")["cells"].first())


def known_table(reference: AnnData) -> pd.DataFrame:
    """Return what a whole reference measured, one row for each batch and protein: batch, cells, protein, measured."""
    known = known_proteins(reference)
    table = known.measured.rename_axis(index="batch", columns="protein").stack(future_stack=True).rename("measured")
    found = table.reset_index()
    found.insert(1, "cells", found["batch"].map(known.sizes))
    return found


def attach_known(sample: AnnData, path: str) -> None:
    """Add what the whole reference measured to a sample of it, in place.

    A sample is drawn evenly by label, so its largest batches are others, and it may lack the only
    cells that have counts of a protein.

    Args:
        sample: counts of some cells of the reference.
        path: of a `known_table`.
    """
    sample.uns[OF_REFERENCE] = pd.read_parquet(path)


def batch_sizes(batches: pd.Series) -> pd.Series:
    """Return the number of cells of each batch.

    Args:
        batches: of the cells.
    """
    return batches.astype(str).value_counts()


def largest(sizes: pd.Series, among: list[str]) -> list[str]:
    """Return the largest of some batches, at most MAX_BATCHES.

    A mean over more would cost time and change little.

    Args:
        sizes: number of cells of each batch.
        among: names of batches.
    """
    sizes = sizes.sort_index().sort_values(ascending=False, kind="stable")
    return list(sizes.index[sizes.index.isin(among)][:MAX_BATCHES])


def shared_batches(measured: pd.DataFrame, sizes: pd.Series) -> list[tuple[list[str], list[str]]]:
    """Return groups of proteins that the same reference batches measured.

    Args:
        measured: batches × proteins, boolean.
        sizes: number of the reference's cells of each batch.

    Returns:
        Pairs of the largest of these batches, none of proteins without any, and the proteins.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for protein in measured.columns:
        groups.setdefault(tuple(largest(sizes, list(measured.index[measured[protein]]))), []).append(protein)
    return [(list(found), proteins) for found, proteins in groups.items()]


def protein_facts(counts: AnnData, reference: AnnData) -> pd.DataFrame:
    """Return which cells measured each protein, one row per protein.

    Returns:
        reference_cells, reference_batches, measured_cells: shares of the reference's cells and
            batches, and of these cells, that measured it.
        values: what the column in `proteins` has: "denoised", "imputed", both, or UNKNOWN.
    """
    known = known_proteins(reference)
    facts = pd.DataFrame(
        {
            "reference_cells": _share(known.measured, known.sizes),
            "reference_batches": known.measured.mean(),
            "measured_cells": _share(measured_proteins(counts), batch_sizes(counts.obs["batch"])),
        }
    )
    facts["values"] = np.select(
        [facts["reference_cells"] == 0, facts["measured_cells"] == 1, facts["measured_cells"] == 0],
        [UNKNOWN, "denoised", "imputed"],
        "denoised, imputed where not measured",
    )
    return facts.rename_axis("protein")


def _share(measured: pd.DataFrame, sizes: pd.Series) -> pd.Series:
    """Return the share of cells in batches that measured each protein."""
    own = sizes.reindex(measured.index)
    return measured.mul(own, axis=0).sum() / own.sum()
