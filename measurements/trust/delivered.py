"""Labels, sets, novelty and verdict of one pair, by the functions that the jobs call."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.evaluate.mixing import MIN_BATCH_CELLS
from refatlas.evaluate.query_measures import MappedModel, QueryMeasures
from refatlas.evaluate.verdict import assess
from refatlas.transfer.calibration import fit_sets, prediction_sets
from refatlas.transfer.cross_fitting import cross_fit, deliver_parts, learn_all
from refatlas.transfer.delivery import deliver
from refatlas.transfer.evidence import Evidence, stack_evidence
from refatlas.transfer.pooling import pooled_probabilities
from trust.pipeline import Fitted, Mapped, Run, source_probabilities


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


@dataclass
class Split:
    """A fold's held-out cells, as `cross_fitting.SplitCells` has them."""

    split: str
    cells: pd.DataFrame
    evidence: Evidence
    seen: np.ndarray


def evidence_of(split: str, mapped: Mapped, known: list[str]) -> Evidence:
    """Return the evidence on the cells of a query or a fold."""
    return Evidence(
        mapped.cells.index,
        known,
        source_probabilities(mapped, known),
        mapped.measures.add_prefix("linear:"),
        mapped.latent,
        (f"{split} " + mapped.cells["batch"].astype(str)).to_numpy(dtype=str),
    )


def measures_of(fitted: Fitted, mapped: Mapped, delivered: pd.DataFrame) -> dict:
    """Return the content of measures.json."""
    reference = fitted.counts[np.sort(np.random.default_rng(0).permutation(fitted.counts.n_obs)[:2000])]
    rows = fitted.counts.obs_names.get_indexer(reference.obs_names)
    model = MappedModel(
        fitted.latent[rows],
        mapped.latent,
        mapped.measures["deviance_ratio"].to_numpy(),
        {"masking_shift": mapped.masking_shift, "late_fall": 0.0},
    )
    measures = QueryMeasures(
        reference.copy(), mapped.counts, mapped.cells, delivered, {"linear": model}, fitted.model, 0
    )
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
    """What is learned of a reference: calibration, and measures of its folds."""

    labels: list[str]
    everything: object
    measures: list[dict]
    limits: dict[float, np.ndarray]


def learn_reference(run: Run, alphas: tuple[float, ...]) -> Learned:
    """Return what is learned on the folds of a reference."""
    labels = sorted(run.reference.counts.obs["label"].unique())
    splits = []
    for i, (fitted, held) in enumerate(run.folds):
        seen = held.cells["label"].isin(fitted.counts.obs["label"].unique()).to_numpy()
        splits.append(Split(f"fold_{i}", held.cells, evidence_of(f"fold_{i}", held, labels), seen))
    evidence = stack_evidence([split.evidence.take(split.seen) for split in splits])
    cells = pd.concat([split.cells[split.seen] for split in splits])
    truth, batches, pooled = cells["label"], cells["batch"].to_numpy(dtype=str), list(evidence.sources)
    everything = learn_all(evidence, truth, batches, pooled, alphas[0])
    part_of, learned = cross_fit(evidence, truth, batches, pooled, alphas[0])
    parents, measures = pd.DataFrame(index=pd.Index(labels)), []
    for split, (fitted, held) in zip(splits, run.folds, strict=True):
        delivered, _ = deliver_parts(split, part_of, learned, everything, parents, 0.95)
        measures.append(measures_of(fitted, held, delivered))
    held_p = pooled_probabilities(evidence, everything.parameters, everything.cells)[0]
    codes = pd.Index(labels).get_indexer(truth)
    return Learned(labels, everything, measures, {alpha: fit_sets(held_p, codes, alpha) for alpha in alphas})


def deliver_pair(run: Run, learned: Learned) -> tuple[Delivered, dict[float, np.ndarray]]:
    """Return labels, novelty and verdict of one pair, and its sets for each alpha."""
    labels, everything = learned.labels, learned.everything
    query, parents = evidence_of("atlas", run.query, labels), pd.DataFrame(index=pd.Index(labels))
    found, shares, _ = deliver(query, everything.parameters, everything.cells, parents, 0.95)
    verdict = assess(measures_of(run.reference, run.query, found), learned.measures)
    score = 1 - ["pass", "warn", "fail"].index(verdict["verdict"]) / 2
    delivered = Delivered(
        labels,
        shares.to_numpy(),
        query.sources,
        found["novelty"].to_numpy(),
        found["novel"].to_numpy(),
        verdict["verdict"],
        verdict["reason"],
        (score, np.nan, np.nan),
    )
    return delivered, {alpha: prediction_sets(delivered.p, limits) for alpha, limits in learned.limits.items()}
