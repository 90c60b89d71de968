"""Labels of held-out cells by what was learned on the other held-out batches."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.transfer.calibration import left_out
from refatlas.transfer.delivery import combined_table, deliver
from refatlas.transfer.evidence import Evidence, HeldOut, known_labels, read_evidence, stack
from refatlas.transfer.pooling import learn

MIN_CELLS = 30
MAX_CELLS = 50_000


class SplitCells:
    """The held-out cells of one split.

    Attributes:
        evidence: of all its cells. cells: their cells.parquet. seen: whether a cell is of good
            quality and its label is in the split's reference.
    """

    def __init__(
        self, split: str, paths: dict[str, list[str]], positions: str, cells: str, models: list[str], known: list[str]
    ) -> None:
        self.split, self.cells = split, pd.read_parquet(cells)
        self.evidence = read_evidence(
            split, self.cells["batch"], models, paths["labels"], paths["distance"], paths["fit"], positions, known
        )
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


def cross_fit(
    evidence: Evidence, truth: pd.Series, batches: np.ndarray, wanted: list[str], alpha: float
) -> tuple[dict[str, int], dict[int, Learned]]:
    """Return the part that each cell is in, and for each part what is learned without it.

    Parts are batches, so that no batch is judged by what was learned on it; with a single batch
    they are thirds of its cells.
    """
    part_of, learned = {}, {}
    for i, test in enumerate(left_out(batches)):
        part_of |= dict.fromkeys(evidence.cells[test], i)
        learned[i] = learn_all(evidence.take(~test), truth[~test], batches[~test], wanted, alpha)
    return part_of, learned


def deliver_parts(
    held: SplitCells,
    part_of: dict[str, int],
    learned: dict[int, Learned],
    everything: Learned,
    parents: pd.DataFrame,
    novel: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return delivered and combined tables of one split, batch by batch as if each were a query,
    each cell by what was learned without its part.
    """
    batch = held.cells["batch"].astype(str)
    part = pd.Series([part_of.get(cell, -1) for cell in held.cells.index], index=held.cells.index)
    # Cells that took no part in learning, such as those of hidden labels, go with their batch.
    part = part.where(part >= 0, part.groupby(batch).transform("max"))
    delivered, combined = [], []
    for (name, number), cells in held.cells.groupby([batch, part]):
        fitted, evidence = learned.get(number, everything), held.evidence.take(held.cells.index.isin(cells.index))
        found, shares, unsure = deliver(evidence, fitted.how, fitted.cells, parents, novel)
        print(
            f"{held.split}, {name}: {len(cells)} cells; left out as unsure: "
            + listed(f"{source} ({fall:.2f})" for source, fall in unsure.items())
        )
        delivered.append(found)
        combined.append(combined_table(evidence, fitted.how, shares))
    return pd.concat(delivered).loc[held.cells.index], pd.concat(combined, ignore_index=True)


def seen_cells(folds: list[SplitCells]) -> tuple[Evidence, pd.DataFrame]:
    """Return the evidence and the cells.parquet of held-out cells to learn from, at most MAX_CELLS
    drawn evenly.

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
            f"config: evaluation: the folds hold out only {len(cells)} cells with a label of the reference, need"
            f" {MIN_CELLS} to calibrate; hold out more, or set evaluation.folds to 0"
        )
    return stack([held.evidence.take(wanted) for held, wanted in zip(folds, drawn, strict=True)]), cells
