"""Calibration on held-out cells, and their labels by cross-fitting.

Cross-fitting: each held-out cell is labelled by what was learned on the other held-out batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.transfer.calibration import left_out
from refatlas.transfer.delivery import deliver, sources_table
from refatlas.transfer.evidence import Evidence, HeldOut, ModelFiles, known_labels, read_evidence, stack_evidence
from refatlas.transfer.hierarchy import hierarchy
from refatlas.transfer.pooling import learn

MIN_CELLS = 30
MAX_CELLS = 50_000


class SplitCells:
    """The held-out cells of one split.

    Args:
        split: its name.
        models: of each model, paths of labels.parquet ("labels"), distance.parquet ("distance") and
            fit.parquet ("fit").
        positions: path of the baseline's latent.parquet of the held-out cells.
        cells: path of their cells.parquet.
        known: labels of the whole reference.

    Attributes:
        split: its name.
        cells: cells.parquet.
        evidence: on all of the cells.
        seen: whether each cell's label is in the split's reference, shape (n_cells,).
    """

    def __init__(self, split: str, models: ModelFiles, positions: str, cells: str, known: list[str]) -> None:
        self.split, self.cells = split, pd.read_parquet(cells)
        self.evidence = read_evidence(split, self.cells["batch"], models, positions, known)
        seen_labels = known_labels(files["labels"] for files in models.values())
        self.seen = self.cells["label"].isin(seen_labels).to_numpy()


@dataclass
class Learned:
    """What was learned on some held-out cells (see `learn`), and these cells."""

    parameters: dict[str, Any]
    cells: HeldOut


@dataclass
class Calibration:
    """Results of `calibrate`.

    Attributes:
        parameters: the content of calibration.json.
        cells: held-out cells from which it was learned.
        delivered: delivered labels of each split's held-out cells (see `deliver`).
        sources: label and confidence of every source (see `sources_table`) of each split.
    """

    parameters: dict[str, Any]
    cells: HeldOut
    delivered: dict[str, pd.DataFrame]
    sources: dict[str, pd.DataFrame]


def calibrate(
    models: Mapping[str, ModelFiles],
    positions: Mapping[str, str],
    cells: Mapping[str, str],
    reference: pd.DataFrame,
    folds: Sequence[str],
    source: str | None,
    alpha: float,
    novel: float,
) -> Calibration:
    """Return calibration and pooling learned on held-out cells, and these cells' labels by cross-fitting.

    Args:
        models: of each split and model, paths of labels.parquet ("labels"), distance.parquet
            ("distance") and fit.parquet ("fit").
        positions: of each split, path of the baseline's latent.parquet of the held-out cells.
        cells: of each split, path of the held-out cells' cells.parquet.
        reference: the reference's cells, with keep, batch and label columns.
        folds: splits to learn from; the others are only labelled.
        source: the only source ("model:source") to deliver; None to pool all.
        alpha: share of cells whose prediction set may miss the true label.
        novel: novelty score from which a cell is novel.

    Raises:
        InputError: the folds hold out too few cells with a label of the reference.
    """
    known = sorted(reference.loc[reference["keep"], "label"].dropna().unique())
    splits = [SplitCells(split, models[split], positions[split], cells[split], known) for split in models]
    evidence, learning = seen_cells([held for held in splits if held.split in folds])
    truth, batches = learning["label"], learning["batch"].to_numpy(dtype=str)
    pooled = list(evidence.sources) if source is None else [source]
    everything = learn_all(evidence, truth, batches, pooled, alpha)
    part_of, learned = cross_fit(evidence, truth, batches, pooled, alpha)
    parents, delivered, sources = hierarchy(reference), {}, {}
    for held in splits:
        delivered[held.split], sources[held.split] = deliver_parts(held, part_of, learned, everything, parents, novel)
    basis = {
        "folds": list(folds),
        "n_cells": len(learning),
        "batches": sorted(set(batches)),
        "simulated": not set(batches) <= set(reference["batch"]),
        "labels": truth.value_counts().to_dict(),
    }
    report_weights(everything.parameters, basis)
    return Calibration({**everything.parameters, "evidence": basis}, everything.cells, delivered, sources)


def report_weights(parameters: Mapping[str, Any], basis: Mapping[str, Any]) -> None:
    """Print the sources' weights and the cells from which they were learned."""
    weights = zip(parameters["wanted"], parameters["weights"], strict=True)
    print(
        f"{basis['n_cells']} held-out cells of {len(basis['batches'])} batches; weights: "
        + ", ".join(f"{name} {weight:.2f}" for name, weight in weights)
    )


def learn_all(evidence: Evidence, truth: pd.Series, batches: np.ndarray, pooled: list[str], alpha: float) -> Learned:
    """Return what is learned on all of these cells; arguments as of `learn`."""
    codes = pd.Index(evidence.labels).get_indexer(truth)
    return Learned(learn(evidence, truth, batches, pooled, alpha), HeldOut(evidence.sources, codes, batches))


def cross_fit(
    evidence: Evidence, truth: pd.Series, batches: np.ndarray, pooled: list[str], alpha: float
) -> tuple[dict[str, int], dict[int, Learned]]:
    """Return the part to which each cell belongs, and what is learned without each part.

    Parts are batches, so that no batch is judged by what was learned on it; with a single batch,
    they are thirds of its cells.
    """
    part_of: dict[str, int] = {}
    learned: dict[int, Learned] = {}
    for i, test in enumerate(left_out(batches)):
        part_of |= dict.fromkeys(evidence.cells[test], i)
        learned[i] = learn_all(evidence.take(~test), truth[~test], batches[~test], pooled, alpha)
    return part_of, learned


def deliver_parts(
    held: SplitCells,
    part_of: dict[str, int],
    learned: dict[int, Learned],
    everything: Learned,
    parents: pd.DataFrame,
    novel: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the delivered labels of one split's held-out cells, and the table of all sources.

    Each batch is labelled as if it were a query, each cell by what was learned without its part.
    """
    batch = held.cells["batch"].astype(str)
    part = pd.Series([part_of.get(cell, -1) for cell in held.cells.index], index=held.cells.index)
    # Cells that nothing was learned from, such as those with a hidden label, belong to the part of their batch.
    part = part.where(part >= 0, part.groupby(batch).transform("max"))
    delivered, sources = [], []
    for (name, number), cells in held.cells.groupby([batch, part]):
        fitted, evidence = learned.get(number, everything), held.evidence.take(held.cells.index.isin(cells.index))
        found, shares, unsure = deliver(evidence, fitted.parameters, fitted.cells, parents, novel)
        print(
            f"{held.split}, {name}: {len(cells)} cells; sources left out because of low confidence: "
            + listed(f"{source} ({fall:.2f})" for source, fall in unsure.items())
        )
        delivered.append(found)
        sources.append(sources_table(evidence, fitted.parameters, shares))
    return pd.concat(delivered).loc[held.cells.index], pd.concat(sources, ignore_index=True)


def seen_cells(splits: Sequence[SplitCells]) -> tuple[Evidence, pd.DataFrame]:
    """Return the evidence and the cells.parquet of held-out cells whose label is in their reference.

    At most about MAX_CELLS are drawn, at random.

    Raises:
        InputError: there are fewer than MIN_CELLS.
    """
    share = min(MAX_CELLS / max(sum(held.seen.sum() for held in splits), 1), 1)
    drawn = [held.seen & (np.random.default_rng(0).random(len(held.seen)) < share) for held in splits]
    cells = pd.concat([held.cells[mask] for held, mask in zip(splits, drawn, strict=True)])
    if len(cells) < MIN_CELLS:
        raise InputError(
            f"config: evaluation: the folds hold out only {len(cells)} cells with a label of the reference, need"
            f" {MIN_CELLS} to calibrate; hold out more, or set evaluation.folds to 0"
        )
    return stack_evidence([held.evidence.take(mask) for held, mask in zip(splits, drawn, strict=True)]), cells
