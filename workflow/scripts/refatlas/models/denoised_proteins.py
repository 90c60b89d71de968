"""Denoised RNA and proteins of cells by totalVI (Gayoso 2021).

Proteins that were not measured are imputed.
"""

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

# Cells computed at a time; most batches that values are averaged over; counts per cell of
# denoised RNA.
BLOCK = 4096
MAX_BATCHES = 10
CELL_COUNTS = 1e4


def denoised_tables(
    model: Any, counts: AnnData, reference: AnnData, outputs: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """Return denoised proteins of cells, and RNA if requested.

    Values are means over draws from the posterior, and over the reference's largest batches that
    measured the protein, as if the cells were of these batches.

    Args:
        model: TOTALVI of scvi-tools.
        counts: of the cells, with proteins in obsm.
        reference: counts of the reference, likewise.
        outputs: the settings of that name.

    Returns:
        proteins: cells × proteins, denoised counts.
        protein_facts: see `protein_facts`.
        rna: cells × genes, denoised, for 10,000 counts per cell; only if requested.
    """
    measured = measured_proteins(reference)
    parts = [
        _denoised_proteins(model, counts, names, batches, outputs)
        for batches, names in shared_batches(measured, reference.obs["batch"])
    ]
    found = {
        "proteins": pd.concat(parts, axis=1)[list(measured.columns)],
        "protein_facts": protein_facts(counts, reference),
    }
    if outputs["rna"]:
        batches = largest(reference.obs["batch"], list(measured.index))
        found["rna"] = _denoised(model, counts, 0, outputs["n_samples"], transform_batch=batches) * np.float32(
            CELL_COUNTS
        )
    return found


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


def largest(batches: pd.Series, among: list[str]) -> list[str]:
    """Return the largest of some batches, at most MAX_BATCHES.

    A mean over more would cost time and change little.

    Args:
        batches: of the cells.
        among: names of batches.
    """
    sizes = batches.astype(str).value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return list(sizes.index[sizes.index.isin(among)][:MAX_BATCHES])


def shared_batches(measured: pd.DataFrame, batches: pd.Series) -> list[tuple[list[str], list[str]]]:
    """Return groups of proteins that the same reference batches measured.

    Args:
        measured: batches × proteins, boolean.
        batches: of the reference's cells.

    Returns:
        Pairs of the largest of these batches, and the proteins.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for protein in measured.columns:
        groups.setdefault(tuple(largest(batches, list(measured.index[measured[protein]]))), []).append(protein)
    return [(list(found), proteins) for found, proteins in groups.items()]


def protein_facts(counts: AnnData, reference: AnnData) -> pd.DataFrame:
    """Return which cells measured each protein, one row per protein.

    Returns:
        reference_cells, reference_batches, measured_cells: shares of the reference's cells and
            batches, and of these cells, that measured it.
        values: what the column in `proteins` has: "denoised", "imputed", or both.
    """
    known = measured_proteins(reference)
    facts = pd.DataFrame(
        {
            "reference_cells": _share(known, reference),
            "reference_batches": known.mean(),
            "measured_cells": _share(measured_proteins(counts), counts),
        }
    )
    facts["values"] = np.select(
        [facts["measured_cells"] == 1, facts["measured_cells"] == 0],
        ["denoised", "imputed"],
        "denoised, imputed where not measured",
    )
    return facts.rename_axis("protein")


def _share(measured: pd.DataFrame, counts: AnnData) -> pd.Series:
    """Return the share of cells in batches that measured each protein."""
    sizes = counts.obs["batch"].astype(str).value_counts().reindex(measured.index)
    return measured.mul(sizes, axis=0).sum() / sizes.sum()
