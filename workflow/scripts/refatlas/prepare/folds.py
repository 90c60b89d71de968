"""Which cells of the reference a fold holds out, and which labels it hides."""

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.cell_tables import as_text

LEAST_GROUPS = 3
MIN_HIDDEN_CELLS = 20
SIMULATED = "simulated"


def units(cells: pd.DataFrame, kind: str) -> pd.Series:
    """Return what is held out as a whole, for each cell: its batch, or its dataset; `auto` takes
    datasets if at least three have labels.
    """
    datasets = cells.index.str.split(":", n=1).str[0]
    by_dataset = pd.Series(datasets, index=cells.index)
    labeled = by_dataset[cells["label"].notna()].nunique()
    return by_dataset if kind == "dataset" or (kind == "auto" and labeled >= LEAST_GROUPS) else cells["batch"]


def auto_units(cells: pd.DataFrame, by: pd.Series, fold: int, n_folds: int) -> list[str]:
    """Return the units that one of `n_folds` folds holds out.

    Units go into max(n_folds, 3) groups of about as many labelled cells each, the largest first;
    each fold holds out one group. So one fold
    leaves two thirds of the cells for training, and as many folds as units leave each out once.
    """
    sizes = by[cells["label"].notna()].value_counts()
    sizes = sizes.sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    if n_folds > len(sizes):
        raise InputError(
            f"config: evaluation: folds: {n_folds} asked, but only {len(sizes)} can be held out"
            f" ({listed(sizes.index)}); set folds to at most {len(sizes)}, which leaves each out once"
        )
    n_groups = min(max(n_folds, LEAST_GROUPS), len(sizes))
    totals, groups = np.zeros(n_groups), [[] for _ in range(n_groups)]
    for unit, n in sizes.items():
        smallest = int(totals.argmin())
        totals[smallest] += n
        groups[smallest].append(unit)
    # The smallest group first: it leaves most for training.
    return groups[np.argsort(totals, kind="stable")[fold % n_groups]]


def named_batches(cells: pd.DataFrame, names: list[str]) -> list[str]:
    """Return the batches that the config names, with or without their dataset."""
    known = pd.Index(cells["batch"].unique())
    short = known.str.split(":", n=1).str[1]
    found = []
    for name in map(as_text, names):
        matches = known[(known == name) | (short == name)]
        if len(matches) != 1:
            reason = "is in several datasets" if len(matches) else "is no batch of the reference"
            raise InputError(f"config: evaluation: folds: batch {name!r} {reason}; the batches are {listed(known, 30)}")
        found.append(matches[0])
    if len(set(found)) == len(known):
        raise InputError(
            f"config: evaluation: folds: {listed(names)} are all batches of the reference; leave one for training"
        )
    return found


def hidden_label(cells: pd.DataFrame, held_out: pd.Series, hide: str | int) -> str:
    """Return the label to hide: the named one, or the n-th by its number of held-out cells."""
    sizes = (
        cells.loc[held_out, "label"].dropna().value_counts().sort_index().sort_values(ascending=False, kind="stable")
    )
    if isinstance(hide, str):
        hide = as_text(hide)
        if hide not in set(cells["label"].dropna()):
            raise InputError(
                f"config: evaluation: hide: {hide!r} is no label of the reference; it has"
                f" {listed(sorted(cells['label'].dropna().unique()), 30)}"
            )
        return hide
    enough = sizes[sizes >= MIN_HIDDEN_CELLS]
    if hide >= len(enough):
        raise InputError(
            f"config: evaluation: hide: {hide + 1} labels asked, but only {len(enough)} have {MIN_HIDDEN_CELLS} cells"
            f" in the held-out batches ({listed(enough.index)}); set hide to at most {len(enough)}"
        )
    return enough.index[hide]


def plan(cells: pd.DataFrame, fold: dict, unit: str, seed: int) -> tuple[pd.Series, dict]:
    """Return the role of each kept cell, and the fold in words.

    A reference with a single unit has nothing to hold out as a whole: a third of its cells is held
    out then, and hold_out makes batches of them.

    Args:
        cells: kept cells of the reference. fold: of `config.folds`: batches, or fold and n_folds;
            hide.
    """
    if "label" not in cells or cells["label"].notna().sum() == 0:
        raise InputError("config: evaluation: the reference has no labels to evaluate; set evaluation.folds to 0")
    by = cells["batch"] if fold.get("batches") else units(cells, unit)
    simulated = not fold.get("batches") and len(by[cells["label"].notna()].unique()) == 1
    if simulated:
        slices = np.random.default_rng(seed).permutation(len(cells)) % max(fold["n_folds"], LEAST_GROUPS)
        held_out = pd.Series(slices == fold["fold"], index=cells.index)
        held = []
    else:
        held = (
            named_batches(cells, fold["batches"])
            if fold.get("batches")
            else auto_units(cells, by, fold["fold"], fold["n_folds"])
        )
        held_out = by.isin(held)
    roles = pd.Series(np.where(held_out, "held_out", "train"), index=cells.index, name="role")
    words = {"held_out": held, "simulated": bool(simulated), "hidden": None}
    if fold.get("hide") is not None:
        words["hidden"] = hidden_label(cells, held_out, fold["hide"])
        roles[(cells["label"] == words["hidden"]) & ~held_out] = "left_out"
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
    words["n_cells"] = {role: int(n) for role, n in roles.value_counts().items()}
    return roles, words


def require_proteins(cells: pd.DataFrame, roles: pd.Series, held: list[str]) -> None:
    """Raise an InputError if no batch that is left to train on measured proteins."""
    measured = cells["has_proteins"].eq(True) if "has_proteins" in cells else pd.Series(False, index=cells.index)
    if not measured.loc[roles.index[roles == "train"]].any():
        raise InputError(
            f"config: evaluation: without {listed(held)} the reference has no proteins (they are in"
            f" {listed(cells.loc[measured, 'batch'].unique())}), and a model needs them; hold out other batches, or set"
            " evaluation.unit to batch"
        )
