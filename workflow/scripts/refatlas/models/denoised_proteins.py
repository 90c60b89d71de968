"""Denoised RNA and proteins of cells, by a totalVI (Gayoso 2021); proteins that were not measured
are imputed.
"""

import numpy as np
import pandas as pd

BLOCK = 4096
MAX_BATCHES = 10
CELL_COUNTS = 1e4


def denoised_tables(model, counts, reference, outputs: dict) -> dict[str, pd.DataFrame]:
    """Return what a totalVI tells of cells.

    Values are means over draws of the posterior and over the reference's largest batches that
    measured the protein, as if the cells were of these batches.

    Args:
        model: of scvi-tools. counts, reference: AnnData with proteins in obsm. outputs: the
            settings of that name.

    Returns:
        proteins: cells × proteins, denoised counts. protein_facts: of `protein_facts`. rna, if
            asked for: cells × genes, denoised, for 10,000 counts a cell.
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


def _denoised_proteins(model, counts, names: list[str], batches: list[str], outputs: dict) -> pd.DataFrame:
    # One gene only: RNA is computed in any case, and would fill the memory.
    asked = {
        "protein_list": names,
        "gene_list": list(counts.var_names[:1]),
        "include_protein_background": outputs["background"],
    }
    parts = (
        _denoised(model, counts, 1, outputs["n_samples"], transform_batch=[batch], **asked)
        * efficiencies(model, batch)[names]
        for batch in batches
    )
    return sum(parts) / np.float32(len(batches))


def efficiencies(model, batch: str) -> pd.Series:
    """Return by what a totalVI's rate of each protein must be multiplied to be counts as the batch
    has them.

    scvi-tools takes it for a nuisance and leaves it out of denoised values, which then are about e
    times the counts: efficiencies lie near 1/e, the mode of their prior.
    """
    place = [str(name) for name in model.adata_manager.get_state_registry("batch").categorical_mapping].index(batch)
    values = np.exp(model.module.log_per_batch_efficiency.detach().cpu().numpy()[:, place])
    return pd.Series(values.astype(np.float32), index=list(model.protein_state_registry.column_names))


def _denoised(model, counts, part: int, n_samples: int, **asked) -> pd.DataFrame:
    """Return RNA (part 0) or proteins (part 1), cells × features, float32, computed block by block
    of cells.
    """
    blocks = [np.arange(start, min(start + BLOCK, counts.n_obs)) for start in range(0, counts.n_obs, BLOCK)]
    values = [
        model.get_normalized_expression(counts, indices=block, n_samples=n_samples, batch_size=512, **asked)[part]
        for block in blocks
    ]
    return pd.concat(values).astype(np.float32).rename_axis("cell")


def measured_proteins(counts) -> pd.DataFrame:
    """Return batches × proteins: whether any cell of the batch has a count, which is how totalVI
    knows what was measured.
    """
    proteins = pd.DataFrame(counts.obsm["proteins"], columns=list(counts.uns["protein_names"]))
    return proteins.groupby(counts.obs["batch"].astype(str).to_numpy()).max() > 0


def largest(batches: pd.Series, among: list[str]) -> list[str]:
    """Return the largest of some batches, at most MAX_BATCHES: a mean over more would cost time and
    change little.
    """
    sizes = batches.astype(str).value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return list(sizes.index[sizes.index.isin(among)][:MAX_BATCHES])


def shared_batches(measured: pd.DataFrame, batches: pd.Series) -> list[tuple[list[str], list[str]]]:
    """Return groups of proteins that the same reference batches measured, each with the largest of
    these batches: (batches, proteins).
    """
    groups: dict[tuple, list[str]] = {}
    for protein in measured.columns:
        groups.setdefault(tuple(largest(batches, list(measured.index[measured[protein]]))), []).append(protein)
    return [(list(found), proteins) for found, proteins in groups.items()]


def protein_facts(counts, reference) -> pd.DataFrame:
    """Return one row a protein: the shares of the reference's cells and batches, and of these
    cells, that measured it, and what its values in `proteins` are.
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


def _share(measured: pd.DataFrame, counts) -> pd.Series:
    """Return the share of cells in batches that measured each protein."""
    sizes = counts.obs["batch"].astype(str).value_counts().reindex(measured.index)
    return measured.mul(sizes, axis=0).sum() / sizes.sum()
