"""Labels, sets, novelty and verdict of one pair, by the functions that the jobs call."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.evaluate.mixing import MIN_BATCH_CELLS
from refatlas.evaluate.query_measures import MappedModel, QueryMeasures
from refatlas.evaluate.verdict import assess, why_novelty_is_not_judged
from refatlas.transfer.conformal import fit_sets, prediction_sets
from refatlas.transfer.cross_fitting import HeldOut, calibrate, seen_cells
from refatlas.transfer.delivery import ATLAS, deliver
from refatlas.transfer.evidence import MATCHED, Evidence
from refatlas.transfer.label_table import probabilities
from refatlas.transfer.pooling import pooled_probabilities
from trust.pipeline import Fitted, Mapped, Run, source_probabilities

# The default of deliver.novel.
NOVEL = 0.9


@dataclass
class Delivered:
    """What the workflow says of one query.

    Attributes:
        labels: of the reference.
        p: delivered probabilities, shape (n_cells, n_labels).
        sources: probabilities of each source.
        novelty: of each cell.
        novel: whether each cell is novel.
        verdict: "pass", "warn" or "fail".
        reason: of the verdict.
        estimate: estimated accuracy, and the ends of its interval.
    """

    labels: list[str]
    p: np.ndarray
    sources: dict[str, np.ndarray]
    novelty: np.ndarray
    novel: np.ndarray
    verdict: str
    reason: str
    estimate: tuple[float, float, float]


def evidence_of(split: str, mapped: Mapped, known: list[str]) -> Evidence:
    """Return the evidence on the cells of a query or a fold."""
    cells, matched = mapped.cells.index, mapped.matched
    groups = (f"{split} " + mapped.cells["batch"].astype(str)).to_numpy(dtype=str)
    table = matched.label_table(cells)
    sources = {
        f"{MATCHED}:{name}": probabilities(table, name, known).loc[cells].to_numpy() for name in matched.probabilities
    }
    agreement = {f"{split} {batch}": values for batch, values in matched.agreement.items() if batch}
    agreement |= {name: matched.agreement[""] for name in np.unique(groups) if name not in agreement}
    return Evidence(
        cells,
        known,
        sources | source_probabilities(mapped, known),
        matched.measures_table(cells).assign(batch=groups),
        groups,
        agreement,
    )


def measures_of(fitted: Fitted, mapped: Mapped, cells: pd.DataFrame, delivered: pd.DataFrame) -> dict:
    """Return the content of measures.json."""
    reference = fitted.counts[np.sort(np.random.default_rng(0).permutation(fitted.counts.n_obs)[:2000])]
    rows = fitted.counts.obs_names.get_indexer(reference.obs_names)
    model = MappedModel(
        fitted.latent[rows],
        mapped.latent,
        mapped.measures["deviance_ratio"].to_numpy(),
        {"masking_shift": mapped.masking_shift, "late_fall": 0.0},
    )
    measures = QueryMeasures(reference.copy(), mapped.counts, cells, delivered, {"linear": model}, fitted.model, 0)
    batches = mapped.cells["batch"].value_counts()
    return {
        "query": measures.of(np.ones(len(mapped.cells), dtype=bool)),
        "batches": {
            batch: measures.of((mapped.cells["batch"] == batch).to_numpy())
            for batch, n in batches.items()
            if n >= MIN_BATCH_CELLS
        },
        "absent_labels": sorted(set(fitted.counts.obs["label"]) - set(delivered["label"])),
    }


@dataclass
class Learned:
    """What is learned of a reference: calibration, measures of its folds, and limits of sets for each alpha."""

    labels: list[str]
    parameters: dict
    measures: list[dict]
    limits: dict[float, np.ndarray]


def learn_reference(run: Run, alphas: tuple[float, ...]) -> Learned:
    """Return what is learned on the folds of a reference."""
    labels = sorted(run.reference.counts.obs["label"].unique())
    real, splits = set(run.reference.counts.obs["batch"]), []
    for i, (fitted, held) in enumerate(run.folds):
        seen = held.cells["label"].isin(fitted.counts.obs["label"].unique()).to_numpy()
        simulated = not set(held.cells["batch"]) <= real
        evidence = evidence_of(f"fold_{i}", held, labels)
        splits.append(HeldOut(f"fold_{i}", held.cells, evidence, seen, held.hidden, simulated))
    folds = [split.split for split in splits]
    found = calibrate(splits, folds, run.reference.counts.obs, None, alphas[0], NOVEL)
    measures = []
    for split, (fitted, held) in zip(splits, run.folds, strict=True):
        cells = held.cells.assign(keep=split.seen | held.cells["label"].isna())
        measures.append(measures_of(fitted, held, cells, found.delivered[split.split]))
    evidence, cells = seen_cells(splits)
    p, _ = pooled_probabilities(evidence, found.parameters)
    codes = pd.Index(labels).get_indexer(cells["label"])
    limits = {alpha: fit_sets(p, codes, alpha) for alpha in alphas}
    return Learned(labels, found.parameters, measures, limits)


def deliver_pair(run: Run, learned: Learned) -> tuple[Delivered, dict[float, np.ndarray]]:
    """Return labels, novelty and verdict of one pair, and its sets for each alpha."""
    query = evidence_of(ATLAS, run.query, learned.labels)
    found = deliver(query, learned.parameters, pd.DataFrame(index=pd.Index(learned.labels)), NOVEL)
    accuracy = found.facts()["accuracy"]
    measures = measures_of(run.reference, run.query, run.query.cells, found.cells)
    verdict = assess(measures, learned.measures, accuracy, why_novelty_is_not_judged(learned.parameters))
    estimate = found.accuracy[""]
    delivered = Delivered(
        learned.labels,
        found.shares.to_numpy(),
        query.sources,
        found.cells["novelty"].to_numpy(),
        found.cells["novel"].to_numpy(),
        verdict["verdict"],
        verdict["reason"],
        (estimate.value, estimate.low, estimate.high),
    )
    return delivered, {alpha: prediction_sets(delivered.p, limits, alpha) for alpha, limits in learned.limits.items()}
