"""Learns on held-out cells how far each source of labels is to be trusted, and how one label is made of all.

in:  labels.parquet, distance.parquet and fit.parquet of each model, the baseline's latent.parquet, and cells.parquet (with the known labels), of every fold's held-out cells
out: calibration.json, and held_out.npz, the cells that it was learned on; of each fold, delivered.parquet and combined.parquet as for a query, by what was learned on the other held-out batches
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.calibration import left_out
from refatlas.cells import read_cells
from refatlas.delivery import Evidence, HeldOut, combined_table, deliver, known_labels, learn, read_evidence, stack
from refatlas.errors import InputError, listed
from refatlas.jobs import run_job, write_json, write_table
from refatlas.labels import hierarchy

MIN_CELLS = 30
MAX_CELLS = 50_000


class SplitCells:
    """The held-out cells of one split.

    Attributes:
        evidence: of all its cells. cells: their cells.parquet. seen: whether a cell is of good quality and its label is in the split's reference.
    """

    def __init__(self, split: str, paths: dict[str, list[str]], positions: str, cells: str, models: list[str], known: list[str]) -> None:
        self.split, self.cells = split, pd.read_parquet(cells)
        self.evidence = read_evidence(split, self.cells["batch"], models, paths["labels"], paths["distance"], paths["fit"], positions, known)
        self.seen = self.cells["label"].isin(known_labels(paths["labels"])).to_numpy()


@dataclass
class Learned:
    """What was learned on some held-out cells, and these cells."""

    how: dict
    cells: HeldOut


def learn_all(evidence: Evidence, truth: pd.Series, batches: np.ndarray, wanted: list[str], alpha: float) -> Learned:
    """Return what is learned on all of these cells."""
    codes = pd.Index(evidence.labels).get_indexer(truth)
    return Learned(learn(evidence, truth, batches, wanted, alpha), HeldOut(evidence.sources, codes, batches))


def cross_fit(evidence: Evidence, truth: pd.Series, batches: np.ndarray, wanted: list[str], alpha: float) -> tuple[dict[str, int], dict[int, Learned]]:
    """Return the part that each cell is in, and for each part what is learned without it.

    Parts are batches, so that no batch is judged by what was learned on it; with a single batch they are thirds of its cells.
    """
    part_of, learned = {}, {}
    for i, test in enumerate(left_out(batches)):
        part_of |= dict.fromkeys(evidence.cells[test], i)
        learned[i] = learn_all(evidence.take(~test), truth[~test], batches[~test], wanted, alpha)
    return part_of, learned


def deliver_parts(
    held: SplitCells, part_of: dict[str, int], learned: dict[int, Learned], everything: Learned, parents: pd.DataFrame, novel: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return delivered and combined tables of one split, batch by batch as if each were a query, each cell by what was learned without its part."""
    batch = held.cells["batch"].astype(str)
    part = pd.Series([part_of.get(cell, -1) for cell in held.cells.index], index=held.cells.index)
    # Cells that took no part in learning, such as those of hidden labels, go with their batch.
    part = part.where(part >= 0, part.groupby(batch).transform("max"))
    delivered, combined = [], []
    for (name, number), cells in held.cells.groupby([batch, part]):
        fitted, evidence = learned.get(number, everything), held.evidence.take(held.cells.index.isin(cells.index))
        found, shares, unsure = deliver(evidence, fitted.how, fitted.cells, parents, novel)
        print(f"{held.split}, {name}: {len(cells)} cells; left out as unsure: " + listed(f"{source} ({fall:.2f})" for source, fall in unsure.items()))
        delivered.append(found)
        combined.append(combined_table(evidence, fitted.how, shares))
    return pd.concat(delivered).loc[held.cells.index], pd.concat(combined, ignore_index=True)


def read_splits(smk, known: list[str]) -> list[SplitCells]:
    """Return the held-out cells of every split; the inputs stand split by split, one file a model."""
    n, files = len(smk.params.models), smk.input
    paths = [{key: list(files[key])[s * n : (s + 1) * n] for key in ("labels", "distance", "fit")} for s in range(len(smk.params.splits))]
    return [SplitCells(*split, smk.params.models, known) for split in zip(smk.params.splits, paths, files.positions, files.cells, strict=True)]


def seen_cells(folds: list[SplitCells]) -> tuple[Evidence, pd.DataFrame]:
    """Return the evidence and the cells.parquet of held-out cells to learn from, at most MAX_CELLS drawn evenly.

    Raises:
        InputError: there are too few.
    """
    drawn = []
    for held in folds:
        share = min(MAX_CELLS / max(sum(other.seen.sum() for other in folds), 1), 1)
        drawn.append(held.seen & (np.random.default_rng(0).random(len(held.seen)) < share))
    cells = pd.concat([held.cells[wanted] for held, wanted in zip(folds, drawn, strict=True)])
    if len(cells) < MIN_CELLS:
        raise InputError(
            f"config: evaluation: the folds hold out only {len(cells)} cells with a label of the reference, need {MIN_CELLS} to calibrate; hold out more, or set evaluation.folds to 0"
        )
    return stack([held.evidence.take(wanted) for held, wanted in zip(folds, drawn, strict=True)]), cells


def main(smk) -> None:
    p, reference = smk.params, read_cells(smk.input.reference, named=False)
    splits = read_splits(smk, sorted(reference.loc[reference["keep"], "label"].dropna().unique()))
    evidence, cells = seen_cells([held for held in splits if held.split in p.folds])
    truth, batches = cells["label"], cells["batch"].to_numpy(dtype=str)
    wanted = list(evidence.sources) if p.wanted is None else [p.wanted]
    everything = learn_all(evidence, truth, batches, wanted, p.alpha)
    part_of, learned = cross_fit(evidence, truth, batches, wanted, p.alpha)
    parents = hierarchy(reference)
    for held, delivered_file, combined_file in zip(splits, smk.output.delivered, smk.output.combined, strict=True):
        delivered, combined = deliver_parts(held, part_of, learned, everything, parents, p.novel)
        write_table(delivered, delivered_file)
        write_table(combined, combined_file)
    everything.how["evidence"] = {
        "folds": p.folds,
        "n_cells": len(cells),
        "batches": sorted(set(batches)),
        "simulated": not set(batches) <= set(reference["batch"]),
        "labels": truth.value_counts().to_dict(),
    }
    everything.cells.save(smk.output.held_out)
    write_json(everything.how, smk.output.calibration)
    weights = zip(wanted, everything.how["weights"], strict=True)
    print(f"{len(cells)} held-out cells of {len(set(batches))} batches; weights: " + ", ".join(f"{name} {w:.2f}" for name, w in weights))


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
