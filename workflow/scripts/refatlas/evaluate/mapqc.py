"""How far a query's cells are from the reference, sample by sample, by mapQC (Dony 2025)."""

import warnings

import numpy as np
import pandas as pd

# A score above this is called distant: so many standard deviations of the reference samples'
# distances to each other.
DISTANT = 2
MIN_SAMPLES = 3
MAX_REFERENCE_CELLS = 100_000
# A share of fewer cells says little of a batch.
MIN_JUDGED = 30


def joined(
    reference: pd.DataFrame, reference_cells: pd.DataFrame, query: pd.DataFrame, query_cells: pd.DataFrame, seed: int
):
    """Return both latent spaces as one AnnData with origin, sample (the batch) and study (the
    dataset); of the reference at most MAX_REFERENCE_CELLS, drawn at random.
    """
    import anndata as ad

    if len(reference) > MAX_REFERENCE_CELLS:
        reference = reference.sample(MAX_REFERENCE_CELLS, random_state=seed)
    batches = pd.concat([reference_cells.loc[reference.index, "batch"], query_cells.loc[query.index, "batch"]]).astype(
        str
    )
    obs = pd.DataFrame(
        {"origin": np.repeat(["reference", "query"], [len(reference), len(query)]), "sample": batches.to_numpy()},
        index=batches.index,
    )
    obs["study"] = obs["sample"].str.split(":", n=1).str[0]
    return ad.AnnData(
        obs=obs.astype("category"), obsm={"X_latent": np.vstack([reference.to_numpy(), query.to_numpy()])}
    )


def sizes(n_reference: int, n_query: int) -> dict[str, int]:
    """Return the number of neighbourhoods and their least and most cells: mapQC's usual ones, fewer
    where there are few cells.
    """
    k_min = int(np.clip((n_reference + n_query) // 40, 100, 1500))
    return {"n_nhoods": int(np.clip(n_query // 10, 1, 300)), "k_min": k_min, "k_max": min(20 * k_min, 10_000)}


def score(cells, seed: int) -> pd.DataFrame:
    """Return mapQC's score and filter of each query cell; NaN for a cell in no neighbourhood that
    could be judged.
    """
    import mapqc

    of_reference = cells.obs["origin"] == "reference"
    apart = cells.obs.loc[of_reference, "study"].nunique() >= MIN_SAMPLES
    # mapQC draws its neighbourhoods by numpy's global generator, whatever its argument says.
    np.random.seed(seed)  # noqa: NPY002
    with warnings.catch_warnings():
        # That there are few samples or many neighbourhoods is said in the manual.
        warnings.simplefilter("ignore", UserWarning)
        mapqc.run_mapqc(
            cells,
            adata_emb_loc="X_latent",
            ref_q_key="origin",
            q_cat="query",
            r_cat="reference",
            sample_key="sample",
            study_key="study" if apart else None,
            exclude_same_study=apart,
            **sizes(int(of_reference.sum()), int((~of_reference).sum())),
            seed=seed,
            verbose=False,
        )
    found = cells.obs.loc[~of_reference, ["mapqc_score", "mapqc_filtering"]]
    return found.set_axis(["score", "filter"], axis=1).astype({"score": float, "filter": str}).rename_axis("cell")


def summary(scores: pd.DataFrame, cells: pd.DataFrame) -> dict:
    """Return numbers and shares of judged cells that are distant, of controls, of the others, and
    of each batch's controls; None for a share of no cell.

    Args:
        cells: of the scores, with batch and control.
    """
    judged, control = scores["score"].notna(), cells["control"]
    found = {"n_cells": len(scores), "n_judged": int(judged.sum())}
    for name, part in (("control", judged & control), ("other", judged & ~control)):
        found[f"n_{name}"], found[f"{name}_distant"] = int(part.sum()), distant(scores[part])
    found["batches"] = {
        batch: distant(part)
        for batch, part in scores[judged & control].groupby(cells["batch"])
        if len(part) >= MIN_JUDGED
    }
    return found


def distant(scores: pd.DataFrame) -> float | None:
    """Return the share of these cells that are distant."""
    return float((scores["score"] > DISTANT).mean()) if len(scores) else None
