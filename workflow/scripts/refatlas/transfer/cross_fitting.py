"""Calibration on held-out cells, and their labels by cross-fitting.

Cross-fitting: each held-out cell is labelled by what was learned on the folds that do not share its
fold's cells, or, where these are too few, on all held-out cells but those of its batches.
"""

from collections.abc import Iterable, Mapping, Sequence
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

# Of each split and cell: the part to which it belongs, and what is learned without that part.
Parts = dict[tuple[str, str], tuple[str, dict[str, Any]]]


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
    require_enough_cells(used)
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
    require_enough_cells(used)
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


def cross_fit(used: Sequence[HeldOut], source: str | None, alpha: float, parents: pd.DataFrame) -> Parts:
    """Return for each held-out cell the part to which it belongs, and what is learned without that part.

    Parts are folds, learned from the folds that share no cell with them. Where these hold out fewer than MIN_CELLS, or
    there are none, parts are batches of the fold, or thirds of its cells, learned from all other cells.
    """
    found: Parts = {}
    for held in used:
        others = [other for other in used if not other.cells.index.isin(held.cells.index).any()]
        if n_seen(others) >= MIN_CELLS:
            learned = learn_from(others, source, alpha, parents)
            found |= dict.fromkeys(((held.split, cell) for cell in held.cells.index), (held.split, learned))
            continue
        if len(used) > 1:
            print(
                f"{held.split}: folds without its cells hold out only {n_seen(others)} cells with a label of the"
                " reference: batches, or thirds, of its cells take the place of folds"
            )
        for i, test in enumerate(_parts_of_fold(held, used)):
            cells = held.cells.index[test]
            learned = learn_from(_without(used, held, cells), source, alpha, parents)
            found |= dict.fromkeys(((held.split, cell) for cell in cells), (str(i), learned))
    return found


def _parts_of_fold(held: HeldOut, used: Sequence[HeldOut]) -> list[np.ndarray]:
    """Return masks of the cells of each part of a fold: its batches, or thirds if a batch leaves too few cells."""
    batches = left_out(held.evidence.groups)
    for test in batches:
        cells = held.cells.index[test]
        if sum(int(other.seen[~other.cells.index.isin(cells)].sum()) for other in used) < MIN_CELLS:
            return left_out(np.zeros(len(held.cells)))
    return batches


def _without(used: Sequence[HeldOut], held: HeldOut, cells: pd.Index) -> list[HeldOut]:
    """Return the held-out cells of all folds but some of `held`, wherever these are held out."""
    found = []
    for other in used:
        lost = other.cells.index.isin(cells)
        if lost.all():
            continue
        rest = _take(other, ~lost) if lost.any() else other
        if lost.any() and other is not held and len(rest.hidden):
            # Measures of hidden labels do not say of which cell they are: those of the batches concerned are left out.
            rest.hidden = rest.hidden[~rest.hidden["batch"].isin(set(other.cells.loc[lost, "batch"].astype(str)))]
        found.append(rest)
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
    parts: Parts,
    everything: dict[str, Any],
    parents: pd.DataFrame,
    novel: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the delivered labels of one split's held-out cells, and the table of all sources.

    Each cell is labelled by what was learned without its part; cells that nothing was learned from,
    by what was learned on all.
    """
    known = _parts_of_split(held.split, parts)
    names = pd.Series([known[cell][0] if cell in known else "" for cell in held.cells.index], index=held.cells.index)
    delivered, sources = [], []
    for _, cells in names.groupby(names):
        learned = known[cells.index[0]][1] if cells.iloc[0] else everything
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


def _parts_of_split(split: str, parts: Parts) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the part of each cell of a split; of one that is not learned from, as in the first fold with the cell."""
    own = {cell: part for (name, cell), part in parts.items() if name == split}
    if own:
        return own
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for (name, cell), (part, learned) in parts.items():
        found.setdefault(cell, (f"{name} {part}", learned))
    return found


def n_seen(held: Iterable[HeldOut]) -> int:
    """Return the number of held-out cells whose label is in their reference."""
    return sum(int(each.seen.sum()) for each in held)


def require_enough_cells(used: Sequence[HeldOut]) -> None:
    """Raise an InputError if the folds hold out fewer than MIN_CELLS cells whose label is in their reference."""
    if n_seen(used) < MIN_CELLS:
        raise InputError(
            f"config: evaluation: the folds hold out only {n_seen(used)} cells with a label of the reference, need"
            f" {MIN_CELLS} to calibrate; hold out more, or set evaluation.folds to 0"
        )


def seen_cells(used: Sequence[HeldOut]) -> tuple[Evidence, pd.DataFrame]:
    """Return the evidence and the cells.parquet of held-out cells whose label is in their reference.

    At most about MAX_CELLS are drawn, at random.
    """
    share = min(MAX_CELLS / max(n_seen(used), 1), 1)
    drawn = [held.seen & (np.random.default_rng(0).random(len(held.seen)) < share) for held in used]
    cells = pd.concat([held.cells[mask] for held, mask in zip(used, drawn, strict=True)])
    return stack_evidence([held.evidence.take(mask) for held, mask in zip(used, drawn, strict=True)]), cells
