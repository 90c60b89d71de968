"""The delivered labels of a query: label, confidence, prediction set and novelty of each cell."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from refatlas.transfer.accuracy import Estimate, UsualWayBack, estimate_accuracy
from refatlas.transfer.calibration import calibrated, pool, temper_to
from refatlas.transfer.conformal import prediction_sets
from refatlas.transfer.evidence import Evidence, MatchedFiles, ModelFiles, as_models, known_labels, read_evidence
from refatlas.transfer.hierarchy import hierarchy
from refatlas.transfer.label_levels import labels_of_all_levels
from refatlas.transfer.label_table import label_table
from refatlas.transfer.novelty import novelty
from refatlas.transfer.novelty_scales import good_cells
from refatlas.transfer.pooling import matched_pool, pooled_probabilities, pooled_sources
from refatlas.transfer.prediction_sets import common_labels, set_lists

# Split name of a query that is mapped onto the whole reference.
ATLAS = "atlas"


@dataclass
class Delivery:
    """The delivered labels of the cells of one query.

    Attributes:
        cells: one row per cell: label, confidence; label_N and confidence_N of each coarser level;
            set (list of labels, the most probable first); set_label (the finest label that covers
            the set, or ""); novelty, novelty_in_label and novelty_fdr (see `novelty`) and novel.
        shares: delivered probabilities, cells × labels.
        accuracy: estimated accuracy of each batch, and of "" for all cells.
        weights: weight of each pooled source by batch.
    """

    cells: pd.DataFrame
    shares: pd.DataFrame
    accuracy: dict[str, Estimate]
    weights: dict[str, dict[str, float]]

    def facts(self) -> dict[str, Any]:
        """Return estimated accuracies and weights as plain values, for sources.json."""
        return {
            "accuracy": {batch: asdict(estimate) for batch, estimate in self.accuracy.items()},
            "weights": self.weights,
        }


def combine(
    models: ModelFiles,
    matched: MatchedFiles,
    cells: pd.DataFrame,
    reference: pd.DataFrame,
    learned: dict[str, Any] | None,
    novel: float,
    source: str | None,
    external: Mapping[str, str] | None = None,
) -> tuple[Delivery, pd.DataFrame]:
    """Return one label per query cell from all sources, and label and confidence of every source.

    Args:
        models: of each model, path of labels.parquet ("labels"); further kinds are ignored.
        matched: paths of the matched baseline's files.
        cells: the query's cells.parquet.
        reference: the reference's cells with label columns.
        learned: calibration.json; None without folds, where the labels of `source` are delivered
            uncalibrated.
        novel: novelty from which a cell is novel.
        source: which sources to pool without folds (see `pooled_sources`).
        external: of each source of labels made elsewhere, path of labels.parquet.
    """
    parents = hierarchy(reference)
    known = learned["labels"] if learned else known_labels(files["labels"] for files in models.values())
    evidence = read_evidence(ATLAS, cells["batch"], {**models, **as_models(external)}, matched, known)
    if learned is None:
        delivery = deliver_uncalibrated(evidence, source, parents)
        print("the labels are delivered uncalibrated, because evaluation.folds is 0")
    else:
        delivery = deliver(evidence, learned, parents, novel)
        print(f"{int(delivery.cells['novel'].sum())} of {len(cells)} cells are novel")
    return delivery, sources_table(evidence, learned, delivery.shares)


def deliver(evidence: Evidence, learned: dict[str, Any], parents: pd.DataFrame, novel: float) -> Delivery:
    """Return the delivered labels of a query, pooled over all sources.

    Args:
        evidence: on the query's cells.
        learned: from `cross_fitting.learn`.
        parents: coarser labels of each label, from `hierarchy`.
        novel: novelty on both scales from which a cell is novel; no cell is if the reference has a
            single batch.
    """
    p, weights = pooled_probabilities(evidence, learned)
    rarity = novelty(evidence.measures, learned["novelty"])
    on_both = rarity[["novelty", "novelty_in_label"]].min(axis=1).to_numpy()
    is_novel = (on_both >= novel) & bool(learned["novelty"]["judged"])
    p, accuracy = _at_estimated_accuracy(evidence, p, ~is_novel, learned)
    shares = pd.DataFrame(p, index=evidence.cells, columns=evidence.labels)
    found = labels_of_all_levels(shares, parents, learned["levels"])
    given = pd.Index(evidence.labels).get_indexer(found["label"])
    inside = prediction_sets(p, np.array(learned["set_limits"]), learned["alpha"], given)
    sets = set_lists(p, inside, evidence.labels)
    found["set"] = pd.Series(sets, index=found.index, dtype=object)
    found["set_label"] = common_labels(found["set"], parents)
    by_batch = {_batch_of(group): of_sources for group, of_sources in weights.items()}
    return Delivery(found.join(rarity).assign(novel=is_novel), shares, accuracy, by_batch)


def _at_estimated_accuracy(
    evidence: Evidence, p: np.ndarray, known: np.ndarray, learned: dict[str, Any]
) -> tuple[np.ndarray, dict[str, Estimate]]:
    """Return probabilities whose mean confidence in each batch is the estimated accuracy, and the estimates.

    Args:
        evidence: on the query's cells.
        p: calibrated probabilities, shape (n_cells, n_labels).
        known: mask of the cells whose type is not novel.
        learned: from `cross_fitting.learn_from`.
    """
    # Bundles before 0.9.2 have a number there.
    usual = learned["way_back"]
    usual = UsualWayBack(**usual) if isinstance(usual, dict) else UsualWayBack(usual)
    found, estimates = p.copy(), estimated_accuracies(evidence, p, known, usual)
    for group in np.unique(evidence.groups):
        rows, estimate = evidence.groups == group, estimates[_batch_of(group)]
        if estimate.value < estimate.confidence:
            found[rows] = temper_to(p[rows], estimate.value * p[rows].max(axis=1).mean() / estimate.confidence)
    return found, estimates


def estimated_accuracies(
    evidence: Evidence, p: np.ndarray, known: np.ndarray, usual: UsualWayBack
) -> dict[str, Estimate]:
    """Return the estimated accuracy of the labels of each batch, and of "" for all cells.

    Args:
        evidence: on the query's cells.
        p: probabilities of the labels, shape (n_cells, n_labels).
        known: mask of the cells whose type is not novel; in a batch where all are novel, all count. Cells of low
            quality count only where there are no others.
        usual: from `usual_way_back`.
    """
    found, sizes, good = {}, [], good_cells(evidence.measures)
    for group in np.unique(evidence.groups):
        in_group = evidence.groups == group
        rows = evidence.good(in_group)
        counted = rows & known if (rows & known).any() else rows
        confidence, agreement = float(p[counted].max(axis=1).mean()), evidence.agreement.get(group)
        largest = float(np.bincount(p[rows].argmax(axis=1)).max() / rows.sum())
        found[_batch_of(group)] = estimate_accuracy(confidence, int(counted.sum()), agreement, usual, largest)
        # A batch of cells of low quality alone says nothing of the others.
        sizes.append(int((in_group & good).sum()))
    sizes = sizes if any(sizes) else [1] * len(sizes)
    return {"": _over_all(list(found.values()), sizes), **found}


def _batch_of(group: str) -> str:
    """Return the batch of a group, which is named by its split and its batch."""
    return group.split(" ", 1)[1]


def _over_all(estimates: list[Estimate], sizes: list[int]) -> Estimate:
    """Return the mean of the batches' estimates and of their ends, weighted by their cells of good quality.

    It is tested if the batches that are have at least half of these cells.
    """

    def mean(name: str) -> float:
        return float(np.average([getattr(estimate, name) for estimate in estimates], weights=sizes))

    known = [
        (estimate.way_back, n)
        for estimate, n in zip(estimates, sizes, strict=True)
        if n and estimate.way_back is not None
    ]
    way_back = float(np.average([gap for gap, _ in known], weights=[n for _, n in known])) if known else None
    return Estimate(mean("value"), mean("low"), mean("high"), mean("confidence"), way_back, mean("tested") >= 0.5)


def deliver_uncalibrated(evidence: Evidence, source: str | None, parents: pd.DataFrame) -> Delivery:
    """Return the uncalibrated labels of some sources with equal weights, for a run without folds.

    The columns are those of `deliver`; sets are empty and novelty is missing. Accuracy is estimated
    from the confidence of the matched baseline.
    """
    names = pooled_sources(evidence.sources, source)
    p = pool([evidence.sources[name] for name in names], np.full(len(names), 1 / len(names)))
    shares = pd.DataFrame(p, index=evidence.cells, columns=evidence.labels)
    found = labels_of_all_levels(shares, parents, {})
    found["set"] = pd.Series([[] for _ in found.index], index=found.index, dtype=object)
    missing = dict.fromkeys(("novelty", "novelty_in_label", "novelty_fdr"), np.nan)
    matched = matched_pool(evidence.sources)
    accuracy = estimated_accuracies(evidence, matched, np.ones(len(p), dtype=bool), UsualWayBack())
    return Delivery(found.assign(set_label="", **missing, novel=False), shares, accuracy, {})


def sources_table(evidence: Evidence, learned: Mapping[str, Any] | None, shares: pd.DataFrame) -> pd.DataFrame:
    """Return label and calibrated confidence of every source, one row per cell and source.

    The source "delivered" has the delivered probabilities of all labels besides. Where a source has no vote, label and
    confidence are missing.
    """
    tables = [label_table(evidence.cells, "delivered", list(shares.columns), shares.to_numpy())]
    for name, calibrator in (learned["sources"] if learned else {}).items():
        table = label_table(evidence.cells, name, evidence.labels, calibrated(evidence.sources[name], calibrator))
        table.loc[~evidence.votes(name), ["label", "confidence"]] = [None, np.nan]
        tables.append(table[["cell", "source", "label", "confidence"]])
    return pd.concat(tables, ignore_index=True)


def read_delivered(path: str) -> pd.DataFrame:
    """Return a delivered.parquet with its prediction sets as lists."""
    table = pd.read_parquet(path)
    return table.assign(set=pd.Series([list(labels) for labels in table["set"]], index=table.index, dtype=object))
