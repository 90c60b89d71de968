"""Labels that were made elsewhere as votes for the reference's labels: one more source, without a latent space."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.transfer.label_table import label_table, labels_of_table

# The only source of its "model" in tables of labels.
EXTERNAL = "external"
# What a map calls a label that is no vote (config.label_map has the same, some layers above).
NO_LABEL = "-"
# Held-out accuracy from which the labels may have been made from the very labels that they are compared with.
TOO_GOOD = 0.999


@dataclass
class Votes:
    """The votes of one source on some cells.

    Attributes:
        table: of labels. A cell without a vote has no label and no confidence there, and 0 for all labels.
        facts: n_cells, n_votes, n_missing (cells without a label), and number of cells by label of those whose label
            the map makes no vote ("left_out"), and of those whose label the reference lacks ("unknown").
    """

    table: pd.DataFrame
    facts: dict[str, Any]


def read_given(paths: Iterable[str], cells: pd.Index) -> pd.DataFrame:
    """Return the labels of some cells as they were made elsewhere, out of the tables that together have all of them.

    A label that one table has a probability of, and another lacks, has probability 0 there.
    """
    tables = [pd.read_parquet(path) for path in paths]
    parts = [table[table.index.isin(cells)] for table in tables]
    found = pd.concat([part for part in parts if len(part)] or tables[:1]).loc[cells]
    return found.fillna(dict.fromkeys([column for column in found if column.startswith("p:")], 0.0))


def votes(given: pd.DataFrame, known: Sequence[str], settings: Mapping[str, Any], where: str) -> Votes:
    """Return the votes of one source for the reference's labels.

    A label without probabilities is a vote of certainty 1; calibration gives it the confidence that it has earned on
    held-out cells. Of probabilities, the share of labels that are none of the reference is spread evenly over all of
    its labels, for the source says nothing of these. If such a label is the most probable one, the cell has no vote.

    Args:
        given: of `read_given`: label, or `p:LABEL` of each label.
        known: labels of the reference.
        settings: of the source: map and unmapped.
        where: the config's key and the query, for messages.

    Raises:
        InputError: the map names a label that the reference lacks; or cells have a label that neither the reference
            nor the map has, and unmapped is error.
    """
    named = settings["map"] or {}
    _require_known(named, known, where)
    shares, names = _shares(given)
    # Names in a map have single spaces.
    ours = pd.Index(known).get_indexer(pd.Index([named.get(" ".join(name.split()), name) for name in names]))
    best, chosen = _most_probable(shares, ours, len(known))
    missing = shares.sum(axis=1) == 0
    lacking = _counts(names, chosen, ~missing & (best < 0))
    unknown = {name: n for name, n in lacking.items() if named.get(" ".join(name.split())) != NO_LABEL}
    if unknown and settings["unmapped"] == "error":
        raise _unknown_error(unknown, known, where)
    voting = ~missing & (best >= 0)
    p = _for_known(shares, ours, len(known)) * voting[:, None]
    table = label_table(given.index, EXTERNAL, known, p)
    table.loc[~voting, ["label", "confidence"]] = [None, np.nan]
    facts = {
        "n_cells": len(given),
        "n_votes": int(voting.sum()),
        "n_missing": int(missing.sum()),
        "left_out": {name: n for name, n in lacking.items() if name not in unknown},
        "unknown": unknown,
    }
    return Votes(table, facts)


def _shares(given: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Return the probability of each of the source's labels, shape (n_cells, n_theirs), and their names."""
    names = labels_of_table(given)
    if names:
        return given.to_numpy(dtype=np.float32), names
    codes, values = pd.factorize(given["label"], sort=True)
    one_hot = np.eye(len(values) + 1, len(values), dtype=np.float32)
    return one_hot[codes], [str(value) for value in values]


def _for_known(shares: np.ndarray, ours: np.ndarray, n_known: int) -> np.ndarray:
    """Return the probability of each label of the reference, shape (n_cells, n_known), rows summing to 1."""
    found = _sums(shares, ours, n_known)
    elsewhere: np.ndarray = shares[:, ours < 0].sum(axis=1, keepdims=True)
    spread: np.ndarray = found + elsewhere / n_known
    return spread


def _sums(shares: np.ndarray, ours: np.ndarray, n_known: int) -> np.ndarray:
    """Return the probability of each label of the reference without that of other labels."""
    columns = np.zeros((len(ours), n_known), dtype=np.float32)
    columns[np.flatnonzero(ours >= 0), ours[ours >= 0]] = 1
    found: np.ndarray = shares @ columns
    return found


def _most_probable(shares: np.ndarray, ours: np.ndarray, n_known: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable label of the reference of each cell, -1 if it is none of these, and then the source's.

    Labels of the source that have one name in the reference count together.
    """
    found, lacking = _sums(shares, ours, n_known), np.flatnonzero(ours < 0)
    if not len(lacking):
        return found.argmax(axis=1), np.zeros(len(found), dtype=int)
    elsewhere = shares[:, lacking]
    best = np.where(elsewhere.max(axis=1) > found.max(axis=1), -1, found.argmax(axis=1))
    return best, lacking[elsewhere.argmax(axis=1)]


def _counts(names: Sequence[str], chosen: np.ndarray, mask: np.ndarray) -> dict[str, int]:
    """Return the number of cells of each label of the source among those of a mask, the most frequent first."""
    found = pd.Series(np.asarray(names, dtype=object)[chosen[mask]]).value_counts()
    return {str(name): int(n) for name, n in found.items()}


def _require_known(named: Mapping[str, str], known: Sequence[str], where: str) -> None:
    for label, name in named.items():
        if name not in known and name != NO_LABEL:
            raise InputError(
                f"{where}: map gives {label!r} the name {name!r}, which is no label of the reference"
                f"{_near(name, known)}; it has {listed(known, 20)}; correct the map, or write {NO_LABEL!r} for no vote"
            )


def _unknown_error(unknown: Mapping[str, int], known: Sequence[str], where: str) -> InputError:
    counts = listed((f"{label!r} ({n} cells{_near(label, known)})" for label, n in unknown.items()), 20)
    return InputError(
        f"{where}: {sum(unknown.values())} cells have labels that the reference lacks and the map does not name:"
        f" {counts}. The reference has {listed(known, 20)}. Name them in a map (a table with the columns label and"
        f" name, {NO_LABEL!r} for no vote), or set unmapped: no_vote, and these cells are left to the other sources"
    )


def _near(name: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1)
    return f", like {found[0]!r}" if found else ""


def report_votes(facts: Mapping[str, Any], where: str) -> None:
    """Print how many cells vote, and why others do not."""
    print(f"{where}: {facts['n_votes']} of {facts['n_cells']} cells vote; {facts['n_missing']} have no label")
    for kind, words in (("left_out", "no votes by the map"), ("unknown", "labels that the reference lacks")):
        if facts[kind]:
            print(f"{words}: " + listed((f"{name} ({n} cells)" for name, n in facts[kind].items()), 20))
