"""Calibration on held-out cells, and their labels by cross-fitting.

Cross-fitting: each held-out cell is labelled by what was learned on the other folds, or, with one
fold, on its other batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError
from refatlas.prepare.folds import LEAST_GROUPS
from refatlas.transfer.accuracy import usual_way_back
from refatlas.transfer.calibration import left_out
from refatlas.transfer.delivery import deliver, sources_table
from refatlas.transfer.evidence import (
    Evidence,
    MatchedFiles,
    ModelFiles,
    as_models,
    known_labels,
    read_evidence,
    stack_evidence,
)
from refatlas.transfer.hierarchy import hierarchy
from refatlas.transfer.label_levels import learn_levels
from refatlas.transfer.novelty import learn_novelty
from refatlas.transfer.pooling import learn, pooled_probabilities, pooled_sources

MIN_CELLS = 30
MAX_CELLS = 50_000


@dataclass
class HeldOut:
    """The held-out cells of one split.

    Attributes:
        split: its name.
        cells: cells.parquet.
        evidence: on all of the cells.
        seen: whether each cell's label is in the split's reference, shape (n_cells,).
        hidden: novelty measures of cells whose label was hidden (see `hidden_label_measures`).
        simulated: whether its batches are simulated.
    """

    split: str
    cells: pd.DataFrame
    evidence: Evidence
    seen: np.ndarray
    hidden: pd.DataFrame
    simulated: bool


def read_held_out(
    split: str,
    models: ModelFiles,
    matched: MatchedFiles,
    cells: str,
    hidden: str | None,
    known: list[str],
    real: set[str],
    external: Mapping[str, str] | None = None,
) -> HeldOut:
    """Return the held-out cells of one split.

    Args:
        split: its name.
        models: of each model, path of labels.parquet ("labels").
        matched: paths of the matched baseline's files.
        cells: path of their cells.parquet.
        hidden: path of the measures of hidden labels; None if there are none.
        known: labels of the whole reference.
        real: batches of the reference.
        external: of each source of labels made elsewhere, path of labels.parquet. What the split's reference has seen
            does not follow from these.
    """
    table = pd.read_parquet(cells)
    seen = known_labels(files["labels"] for files in models.values())
    return HeldOut(
        split,
        table,
        read_evidence(split, table["batch"], {**models, **as_models(external)}, matched, known),
        table["label"].isin(seen).to_numpy(),
        pd.read_parquet(hidden) if hidden else pd.DataFrame(columns=["hidden"]),
        not set(table["batch"].astype(str)) <= real,
    )


def read_splits(
    labels: Mapping[str, Mapping[str, str]],
    files: Mapping[str, Mapping[str, str]],
    reference: pd.DataFrame,
    external: Mapping[str, Mapping[str, str]] | None = None,
) -> list[HeldOut]:
    """Return the held-out cells of all splits.

    Args:
        labels: path of labels.parquet of each split and model.
        files: of each split, paths of matched_labels, matched_measures, matched_agreement, cells and,
            for folds to learn from, hidden.
        reference: the reference's cells, with keep, batch and label columns.
        external: path of labels.parquet of each split and source of labels made elsewhere.
    """
    known = sorted(reference.loc[reference["keep"], "label"].dropna().unique())
    real = set(reference["batch"].astype(str))
    return [
        read_held_out(
            split,
            {model: {"labels": path} for model, path in models.items()},
            {kind: files[split][f"matched_{kind}"] for kind in ("labels", "measures", "agreement")},
            files[split]["cells"],
            files[split].get("hidden"),
            known,
            real,
            (external or {}).get(split),
        )
        for split, models in labels.items()
    ]


@dataclass
class Calibration:
    """Results of `calibrate`.

    Attributes:
        parameters: the content of calibration.json.
        delivered: delivered labels of each split's held-out cells (see `Delivery`).
        sources: label and confidence of every source (see `sources_table`) of each split.
    """

    parameters: dict[str, Any]
    delivered: dict[str, pd.DataFrame]
    sources: dict[str, pd.DataFrame]


def calibrate(
    splits: Sequence[HeldOut],
    folds: Sequence[str],
    reference: pd.DataFrame,
    source: str | None,
    alpha: float,
    novel: float,
) -> Calibration:
    """Return calibration and pooling learned on held-out cells, and these cells' labels by cross-fitting.

    Args:
        splits: held-out cells of all folds.
        folds: names of the splits to learn from; the others are only labelled.
        reference: the reference's cells, with label columns.
        source: which sources to pool (see `pooled_sources`).
        alpha: share of a label's cells whose prediction set may miss it.
        novel: novelty from which a cell is novel.

    Raises:
        InputError: the folds hold out too few cells with a label of the reference.
    """
    used, parents = [held for held in splits if held.split in folds], hierarchy(reference)
    everything = learn_from(used, source, alpha, parents)
    parts = cross_fit(used, source, alpha, parents)
    delivered, sources = {}, {}
    for held in splits:
        delivered[held.split], sources[held.split] = deliver_held_out(held, parts, everything, parents, novel)
    basis = _basis(used)
    report_weights(everything, basis)
    return Calibration({**everything, "evidence": basis}, delivered, sources)


def learn_calibration(
    used: Sequence[HeldOut], reference: pd.DataFrame, source: str | None, alpha: float
) -> dict[str, Any]:
    """Return the content of calibration.json alone: what `calibrate` learns, without labels by cross-fitting.

    Args:
        used: held-out cells of the folds to learn from.
        reference: the reference's cells, with label columns.
        source: which sources to pool (see `pooled_sources`).
        alpha: share of a label's cells whose prediction set may miss it.

    Raises:
        InputError: the folds hold out too few cells with a label of the reference.
    """
    learned, basis = learn_from(used, source, alpha, hierarchy(reference)), _basis(used)
    report_weights(learned, basis)
    return {**learned, "evidence": basis}


def _basis(used: Sequence[HeldOut]) -> dict[str, Any]:
    """Return from which cells was learned, for calibration.json."""
    cells = pd.concat([held.cells[held.seen] for held in used])
    return {
        "folds": [held.split for held in used],
        "n_cells": len(cells),
        "batches": sorted(cells["batch"].astype(str).unique()),
        "simulated": any(held.simulated for held in used),
        "labels": cells["label"].value_counts().to_dict(),
    }


def report_weights(parameters: Mapping[str, Any], basis: Mapping[str, Any]) -> None:
    """Print the sources' weights and the cells from which they were learned."""
    weights = zip(parameters["wanted"], parameters["weights"], strict=True)
    print(
        f"{basis['n_cells']} held-out cells of {len(basis['batches'])} batches; weights: "
        + ", ".join(f"{name} {weight:.2f}" for name, weight in weights if weight)
    )


def learn_from(used: Sequence[HeldOut], source: str | None, alpha: float, parents: pd.DataFrame) -> dict[str, Any]:
    """Return all that is learned on the held-out cells of some splits.

    Returns:
        All of `pooling.learn`, and "levels" (see `learn_levels`), "novelty" (see `learn_novelty`;
        "judged" is false if every batch is simulated) and "way_back" (see `usual_way_back`).
    """
    evidence, cells = seen_cells(used)
    truth = pd.Index(evidence.labels).get_indexer(cells["label"])
    groups = _groups(evidence, used)
    pooled = pooled_sources(evidence.sources, source)
    learned = learn(evidence, truth, groups, pooled, alpha, are_studies(groups, cells["batch"].astype(str)))
    p, _ = pooled_probabilities(evidence, learned)
    hidden = pd.concat([held.hidden.assign(fold=held.split) for held in used if len(held.hidden)] or [pd.DataFrame()])
    agreement = {group: values for held in used for group, values in held.evidence.agreement.items()}
    return {
        **learned,
        "levels": learn_levels(p, evidence.labels, truth, parents),
        "novelty": learn_novelty(evidence.measures, hidden) | {"judged": not all(held.simulated for held in used)},
        "way_back": asdict(usual_way_back(agreement.values())),
    }


def are_studies(groups: np.ndarray, batches: pd.Series) -> bool:
    """Return whether the groups are at least three, and each has datasets of its own.

    Args:
        groups: group of each cell.
        batches: batch of each cell, "dataset:batch".
    """
    names = [batch.split(":", 1)[0] if ":" in batch else "" for batch in batches]
    pairs = pd.DataFrame({"group": groups, "dataset": names}).drop_duplicates()
    return pairs["group"].nunique() >= LEAST_GROUPS and not pairs["dataset"].duplicated().any()


def _groups(evidence: Evidence, used: Sequence[HeldOut]) -> np.ndarray:
    """Return the fold of each cell, or its batch if there is one fold."""
    if len(used) < 2:
        return evidence.groups
    return np.array([group.split(" ", 1)[0] for group in evidence.groups])


def cross_fit(
    used: Sequence[HeldOut], source: str | None, alpha: float, parents: pd.DataFrame
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return for each held-out cell the part to which it belongs, and what is learned without that part.

    Parts are folds; with one fold, batches; with one batch, thirds of its cells.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    if len(used) > 1:
        for held in used:
            learned = learn_from([other for other in used if other is not held], source, alpha, parents)
            found |= dict.fromkeys(held.cells.index, (held.split, learned))
        return found
    held = used[0]
    for i, test in enumerate(left_out(held.evidence.groups)):
        learned = learn_from([_take(held, ~test)], source, alpha, parents)
        found |= dict.fromkeys(held.cells.index[test], (str(i), learned))
    return found


def _take(held: HeldOut, mask: np.ndarray) -> HeldOut:
    """Return the cells of a split where `mask` is true, with the measures of hidden labels of their batches."""
    batches = set(held.cells.loc[mask, "batch"].astype(str))
    hidden = held.hidden[held.hidden["batch"].isin(batches)] if len(held.hidden) else held.hidden
    evidence = held.evidence.take(mask)
    kept = set(evidence.groups)
    evidence.agreement = {group: values for group, values in evidence.agreement.items() if group in kept}
    return HeldOut(held.split, held.cells[mask], evidence, held.seen[mask], hidden, held.simulated)


def deliver_held_out(
    held: HeldOut,
    parts: Mapping[str, tuple[str, dict[str, Any]]],
    everything: dict[str, Any],
    parents: pd.DataFrame,
    novel: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the delivered labels of one split's held-out cells, and the table of all sources.

    Each cell is labelled by what was learned without its part; cells that nothing was learned from,
    by what was learned on all.
    """
    names = pd.Series([parts[cell][0] if cell in parts else "" for cell in held.cells.index], index=held.cells.index)
    delivered, sources = [], []
    for _, cells in names.groupby(names):
        learned = parts[cells.index[0]][1] if cells.iloc[0] else everything
        evidence = held.evidence.take(held.cells.index.isin(cells.index))
        found = deliver(evidence, learned, parents, novel)
        estimate = found.accuracy[""]
        print(
            f"{held.split}: {len(cells)} cells; estimated accuracy {estimate.value:.3f}"
            f" ({estimate.low:.3f} to {estimate.high:.3f})"
        )
        delivered.append(found.cells)
        sources.append(sources_table(evidence, learned, found.shares))
    return pd.concat(delivered).loc[held.cells.index], pd.concat(sources, ignore_index=True)


def seen_cells(used: Sequence[HeldOut]) -> tuple[Evidence, pd.DataFrame]:
    """Return the evidence and the cells.parquet of held-out cells whose label is in their reference.

    At most about MAX_CELLS are drawn, at random.

    Raises:
        InputError: there are fewer than MIN_CELLS.
    """
    share = min(MAX_CELLS / max(sum(held.seen.sum() for held in used), 1), 1)
    drawn = [held.seen & (np.random.default_rng(0).random(len(held.seen)) < share) for held in used]
    cells = pd.concat([held.cells[mask] for held, mask in zip(used, drawn, strict=True)])
    if len(cells) < MIN_CELLS:
        raise InputError(
            f"config: evaluation: the folds hold out only {len(cells)} cells with a label of the reference, need"
            f" {MIN_CELLS} to calibrate; hold out more, or set evaluation.folds to 0"
        )
    return stack_evidence([held.evidence.take(mask) for held, mask in zip(used, drawn, strict=True)]), cells
