"""Which cells of the reference a fold holds out, and which labels it hides."""

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.cell_tables import as_text

# Folds hold out a third of the reference, or less.
LEAST_GROUPS = 3
# A fold that holds out a dataset with a larger share of the labelled cells trains on fewer cells than it is scored on.
LARGEST_DATASET = 0.5
# A label can be hidden if so many held-out cells have it.
MIN_HIDDEN_CELLS = 20
SIMULATED = "simulated"


def cell_units(cells: pd.DataFrame, kind: str) -> pd.Series:
    """Return the unit of each cell that is held out together: its batch or its dataset.

    Args:
        cells: with batch and label, indexed by dataset:barcode.
        kind: "batch", "dataset", or "auto", which is the dataset if at least three have labels. A dataset that has
            more than LARGEST_DATASET of the labelled cells, in several batches, is then divided into its batches.
    """
    by_dataset = pd.Series(cells.index.str.split(":", n=1).str[0], index=cells.index)
    if kind == "dataset":
        return by_dataset
    labeled = cells["label"].notna()
    sizes = by_dataset[labeled].value_counts()
    if kind == "batch" or len(sizes) < LEAST_GROUPS:
        return cells["batch"]
    largest = by_dataset == sizes.index[0]
    too_large = sizes.iloc[0] > LARGEST_DATASET * sizes.sum()
    if not too_large or cells.loc[largest & labeled, "batch"].nunique() < 2:
        return by_dataset
    return by_dataset.mask(largest, cells["batch"].astype(str))


def balanced_units(cells: pd.DataFrame, by: pd.Series, fold: int, n_folds: int) -> list[str]:
    """Return the units that one of `n_folds` folds holds out.

    Units are distributed to max(n_folds, 3) groups with about as many labelled cells each, the
    largest unit first, and each fold holds out one group. So a single fold leaves two thirds of the
    cells for training, and with as many folds as units, each unit is held out once.

    Args:
        cells: with label.
        by: unit of each cell.
        fold: number of the fold, from 0.

    Raises:
        InputError: there are fewer units than folds.
    """
    sizes = by[cells["label"].notna()].value_counts()
    sizes = sizes.sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    if n_folds > len(sizes):
        raise InputError(
            f"config: evaluation: folds: {n_folds} folds requested, but only {len(sizes)} units can be held out"
            f" ({listed(sizes.index)}); set folds to at most {len(sizes)}, which holds out each once"
        )
    n_groups = min(max(n_folds, LEAST_GROUPS), len(sizes))
    totals = np.zeros(n_groups)
    groups: list[list[str]] = [[] for _ in range(n_groups)]
    for unit, n in sizes.items():
        smallest = int(totals.argmin())
        totals[smallest] += n
        groups[smallest].append(unit)
    # The smallest group first: it leaves most for training.
    return groups[np.argsort(totals, kind="stable")[fold % n_groups]]


def find_batches(cells: pd.DataFrame, names: list[str]) -> list[str]:
    """Return the batches that the config names, as dataset:batch.

    Args:
        cells: with batch.
        names: batch, or dataset:batch.

    Raises:
        InputError: a name is no batch or that of several, or no batch is left for training.
    """
    known = pd.Index(cells["batch"].unique())
    short = known.str.split(":", n=1).str[1]
    found = []
    for name in map(as_text, names):
        matches = known[(known == name) | (short == name)]
        if len(matches) != 1:
            reason = "is in several datasets" if len(matches) else "is not a batch of the reference"
            raise InputError(f"config: evaluation: folds: batch {name!r} {reason}; the batches are {listed(known, 30)}")
        found.append(matches[0])
    if len(set(found)) == len(known):
        raise InputError(
            f"config: evaluation: folds: {listed(names)} are all batches of the reference; leave one for training"
        )
    return found


def hidden_label(cells: pd.DataFrame, held_out: pd.Series, hide: str | int) -> str:
    """Return the label to hide from training.

    Args:
        cells: with label.
        held_out: whether each cell is held out.
        hide: the label, or its rank by number of held-out cells, from 0.

    Raises:
        InputError: there is no such label, or no label of this rank with MIN_HIDDEN_CELLS.
    """
    sizes = (
        cells.loc[held_out, "label"].dropna().value_counts().sort_index().sort_values(ascending=False, kind="stable")
    )
    if isinstance(hide, str):
        hide = as_text(hide)
        if hide not in set(cells["label"].dropna()):
            raise InputError(
                f"config: evaluation: hide: {hide!r} is not a label of the reference; it has"
                f" {listed(sorted(cells['label'].dropna().unique()), 30)}"
            )
        return hide
    enough = sizes[sizes >= MIN_HIDDEN_CELLS]
    if hide >= len(enough):
        raise InputError(
            f"config: evaluation: hide: {hide + 1} labels requested, but only {len(enough)} have"
            f" {MIN_HIDDEN_CELLS} cells in the held-out batches ({listed(enough.index)}); set hide to"
            f" at most {len(enough)}"
        )
    return enough.index[hide]


def plan_fold(
    cells: pd.DataFrame, fold: dict, unit: str, seed: int, labels_follow: bool = False
) -> tuple[pd.Series, dict]:
    """Return the role of each kept cell in a fold, and a summary of the fold.

    A reference with a single unit has no unit to hold out: then a third of its cells is held out,
    of which hold_out simulates batches. So it is for an automatic fold for which no unit is left.

    Args:
        cells: kept cells of the reference, with batch and label.
        fold: batches, or fold, n_folds and automatic; hide. As of `config.folds`. With set_aside, another fold: the
            batches that it holds out take no part in this one.
        unit: "batch", "dataset" or "auto".
        seed: for the cells of a reference with a single unit.
        labels_follow: whether all cells count as labelled, because an annotation names them, whatever it says. Then
            another annotation changes no fold.

    Returns:
        "train", "held_out" or "left_out" (training cells of the hidden label, and cells set aside) for each cell; and
        held_out, simulated, hidden and n_cells, for fold.json; with cells set aside, also set_aside.

    Raises:
        InputError: the fold cannot be planned, or nothing could be scored.
    """
    if "set_aside" in fold:
        return _plan_with_set_aside(cells, fold, unit, seed, labels_follow)
    if labels_follow and fold.get("hide") is None:
        cells = cells.assign(label="any")
    elif "label" not in cells or cells["label"].notna().sum() == 0:
        raise InputError("config: evaluation: the reference has no labels to evaluate; set evaluation.folds to 0")
    by = cells["batch"] if fold.get("batches") else cell_units(cells, unit)
    n_units = len(by[cells["label"].notna()].unique())
    without_unit = n_units == 1 or (fold.get("automatic", False) and fold["fold"] >= n_units)
    simulated = not fold.get("batches") and without_unit
    held: list[str] = []
    if simulated:
        slices = np.random.default_rng(seed).permutation(len(cells)) % max(fold["n_folds"], LEAST_GROUPS)
        held_out = pd.Series(slices == fold["fold"], index=cells.index)
    elif fold.get("batches"):
        held = find_batches(cells, fold["batches"])
        held_out = by.isin(held)
    else:
        n_folds = min(fold["n_folds"], n_units) if fold.get("automatic") else fold["n_folds"]
        held = balanced_units(cells, by, fold["fold"], n_folds)
        held_out = by.isin(held)
    roles = pd.Series(np.where(held_out, "held_out", "train"), index=cells.index, name="role")
    hidden = None if fold.get("hide") is None else hidden_label(cells, held_out, fold["hide"])
    if hidden is not None:
        roles[(cells["label"] == hidden) & ~held_out] = "left_out"
    if not labels_follow:
        _require_scorable(cells, roles, held)
    n_cells = {role: int(n) for role, n in roles.value_counts().items()}
    return roles, {"held_out": held, "simulated": bool(simulated), "hidden": hidden, "n_cells": n_cells}


def _plan_with_set_aside(
    cells: pd.DataFrame, fold: dict, unit: str, seed: int, labels_follow: bool
) -> tuple[pd.Series, dict]:
    """Return what `plan_fold` returns of a fold with cells that another fold holds out, and that take no part.

    Raises:
        InputError: either fold cannot be planned, they share cells, or nothing is left to train on or to score.
    """
    first = {key: value for key, value in fold.items() if key != "set_aside"}
    roles, summary = plan_fold(cells, first, unit, seed, labels_follow)
    others, aside = plan_fold(cells, fold["set_aside"], unit, seed, labels_follow)
    if (shared := (roles == "held_out") & (others == "held_out")).any() or summary["simulated"] != aside["simulated"]:
        held = cells.loc[shared, "batch"].unique() if shared.any() else summary["held_out"] + aside["held_out"]
        raise InputError(
            f"config: tune: settings are chosen on batches of one fold and judged on those of another, and the folds"
            f" share {listed(held)}; name folds without batches in common in evaluation.folds"
        )
    roles = roles.mask(others == "held_out", "left_out")
    if not (roles == "train").any():
        raise InputError(
            f"config: tune: without {listed(summary['held_out'])}, on which settings are chosen, and"
            f" {listed(aside['held_out'])}, on which they are judged, no batch is left to train on; tuning needs three"
            " batches"
        )
    if not labels_follow:
        _require_scorable(cells, roles, summary["held_out"] + aside["held_out"])
    n_cells = {role: int(n) for role, n in roles.value_counts().items()}
    return roles, {**summary, "set_aside": aside["held_out"], "n_cells": n_cells}


def few_training_cells(summary: dict) -> str:
    """Return a warning for the log if a fold trains on fewer cells than it holds out; otherwise an empty text.

    Args:
        summary: of `plan_fold`.
    """
    n_train, n_held = (summary["n_cells"].get(role, 0) for role in ("train", "held_out"))
    if n_train >= n_held:
        return ""
    return (
        f"warning: this fold trains on {n_train} cells and holds out {n_held}, with {listed(summary['held_out'])}; what"
        " it shows is worse than the atlas; if these cells are of several batches, name them in batch_key, or hold out"
        " fewer batches in evaluation.folds"
    )


def _require_scorable(cells: pd.DataFrame, roles: pd.Series, held: list[str]) -> None:
    """Raise an InputError unless two labels are left for training and one can be scored."""
    if cells.loc[roles == "train", "label"].nunique() < 2:
        raise InputError(
            f"config: evaluation: without {listed(held)} the reference has fewer than two labels; hold out other"
            " batches"
        )
    known = set(cells.loc[roles == "train", "label"].dropna())
    if not cells.loc[roles == "held_out", "label"].isin(known).any():
        raise InputError(
            f"config: evaluation: no cell of {listed(held)} has a label that the rest of the reference has, so nothing"
            " can be scored; hold out other batches"
        )


def require_training_proteins(cells: pd.DataFrame, roles: pd.Series, held: list[str]) -> None:
    """Raise an InputError if no batch that is left for training measured proteins.

    Args:
        cells: of the reference, with batch and has_proteins.
        roles: of the kept cells.
        held: what is held out, for the message.
    """
    measured = cells["has_proteins"].eq(True) if "has_proteins" in cells else pd.Series(False, index=cells.index)
    if not measured.loc[roles.index[roles == "train"]].any():
        raise InputError(
            f"config: evaluation: without {listed(held)} the reference has no proteins (they are in"
            f" {listed(cells.loc[measured, 'batch'].unique())}), and a model needs them; hold out other batches, or set"
            " evaluation.unit to batch"
        )
