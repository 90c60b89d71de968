"""Distance of a query's cells from the reference, sample by sample, by mapQC (Dony 2025)."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import anndata as ad

# Cells with a higher score are called distant. The unit is the standard deviation of the distances
# between the reference's samples.
DISTANT = 2
MIN_SAMPLES = 3
MAX_REFERENCE_CELLS = 100_000
# Shares of fewer cells are too uncertain to characterize a batch.
MIN_JUDGED = 30


def score_query(
    reference: pd.DataFrame,
    reference_cells: pd.DataFrame,
    query: pd.DataFrame,
    query_cells: pd.DataFrame,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return mapQC's score of each query cell and their summary, and print the summary.

    Args:
        reference: latent space of the reference, indexed by cell.
        reference_cells: the reference's cells with batch.
        query: latent space of the query, indexed by cell.
        query_cells: the query's cells with batch, and control if only some are controls.
        seed: seed of mapQC's random draws.

    Returns:
        mapqc.parquet (score and filter of each cell) and mapqc.json (see `summary`). All scores are
        missing if the reference has fewer than MIN_SAMPLES batches.
    """
    n_samples = reference_cells.loc[reference.index, "batch"].nunique()
    if n_samples < MIN_SAMPLES:
        print(f"not measured: mapQC needs {MIN_SAMPLES} batches in the reference, found {n_samples}")
        scores = pd.DataFrame({"score": np.nan, "filter": "no reference samples"}, index=query.index)
        return scores, {"control_distant": None, "batches": {}}
    scores = cell_scores(joined(reference, reference_cells, query, query_cells, seed), seed)
    cells = query_cells.loc[scores.index]
    found = summary(scores, cells if "control" in cells else cells.assign(control=True))
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    return scores, found


def joined(
    reference: pd.DataFrame, reference_cells: pd.DataFrame, query: pd.DataFrame, query_cells: pd.DataFrame, seed: int
) -> "ad.AnnData":
    """Return both latent spaces as one AnnData with origin, sample (the batch) and study (the dataset).

    Of the reference, at most MAX_REFERENCE_CELLS are drawn at random. Arguments as of `score_query`.
    """
    import anndata as ad

    if len(reference) > MAX_REFERENCE_CELLS:
        reference = reference.sample(MAX_REFERENCE_CELLS, random_state=seed)
    batches = pd.concat([reference_cells.loc[reference.index, "batch"], query_cells.loc[query.index, "batch"]]).astype(
        str
    )
    origin = ["reference"] * len(reference) + ["query"] * len(query)
    obs = pd.DataFrame({"origin": origin, "sample": batches.to_numpy()}, index=batches.index)
    obs["study"] = obs["sample"].str.split(":", n=1).str[0]
    found = ad.AnnData(obs=obs.astype("category"))
    found.obsm["X_latent"] = np.vstack([reference.to_numpy(), query.to_numpy()])
    return found


def neighborhood_sizes(n_reference: int, n_query: int) -> dict[str, int]:
    """Return number and sizes of the neighbourhoods: mapQC's defaults, lowered for few cells.

    Returns:
        "n_nhoods", number of neighbourhoods; "k_min" and "k_max", their least and largest numbers
        of cells.
    """
    k_min = int(np.clip((n_reference + n_query) // 40, 100, 1500))
    return {"n_nhoods": int(np.clip(n_query // 10, 1, 300)), "k_min": k_min, "k_max": min(20 * k_min, 10_000)}


def cell_scores(cells: "ad.AnnData", seed: int) -> pd.DataFrame:
    """Return mapQC's score and filter of each query cell, indexed by cell.

    The score is missing for a cell that is in no neighbourhood with enough samples.

    Args:
        cells: from `joined`.
        seed: seed of mapQC's random draws.
    """
    import mapqc

    of_reference = cells.obs["origin"] == "reference"
    exclude_same_study = bool(cells.obs["study"][of_reference].nunique() >= MIN_SAMPLES)
    # mapQC draws its neighbourhoods by numpy's global generator and ignores its argument.
    np.random.seed(seed)  # noqa: NPY002
    with warnings.catch_warnings():
        # It warns of few samples and of many neighbourhoods; the documentation covers both.
        warnings.simplefilter("ignore", UserWarning)
        mapqc.run_mapqc(
            cells,
            adata_emb_loc="X_latent",
            ref_q_key="origin",
            q_cat="query",
            r_cat="reference",
            sample_key="sample",
            study_key="study" if exclude_same_study else None,
            exclude_same_study=exclude_same_study,
            **neighborhood_sizes(int(of_reference.sum()), int((~of_reference).sum())),
            seed=seed,
            verbose=False,
        )
    found: pd.DataFrame = cells.obs[["mapqc_score", "mapqc_filtering"]][~of_reference]
    return found.set_axis(["score", "filter"], axis=1).astype({"score": float, "filter": str}).rename_axis("cell")


def summary(scores: pd.DataFrame, cells: pd.DataFrame) -> dict[str, Any]:
    """Return numbers and shares of distant cells: the content of mapqc.json.

    Args:
        scores: from `cell_scores`.
        cells: the same cells, with batch and control.

    Returns:
        "n_cells"; "n_judged", cells with a score; number ("n_control", "n_other") and share of
        distant cells ("control_distant", "other_distant") of control and of other cells; "batches",
        the share of distant control cells of each batch with at least MIN_JUDGED. A share of no
        cells is None.
    """
    judged, control = scores["score"].notna(), cells["control"]
    found: dict[str, Any] = {"n_cells": len(scores), "n_judged": int(judged.sum())}
    for name, part in (("control", judged & control), ("other", judged & ~control)):
        found[f"n_{name}"], found[f"{name}_distant"] = int(part.sum()), distant_share(scores[part])
    found["batches"] = {
        batch: distant_share(part)
        for batch, part in scores[judged & control].groupby(cells["batch"])
        if len(part) >= MIN_JUDGED
    }
    return found


def distant_share(scores: pd.DataFrame) -> float | None:
    """Return the share of these cells that are distant; None without cells."""
    return float((scores["score"] > DISTANT).mean()) if len(scores) else None
