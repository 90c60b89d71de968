"""Prediction sets: lists of labels, and their text in labels.csv."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from refatlas.io.cell_tables import SEPARATOR

QUOTE = '"'


def set_lists(p: np.ndarray, inside: np.ndarray, labels: Sequence[str]) -> list[list[str]]:
    """Return the labels of each cell's prediction set, the most probable first.

    Args:
        p: probabilities of the labels, shape (n_cells, n_labels).
        inside: whether each label is in the cell's set, same shape.
        labels: names of the columns.
    """
    names = np.array(labels, dtype=object)
    order = np.argsort(-p, axis=1)
    return [names[row][keep[row]].tolist() for row, keep in zip(order, inside, strict=True)]


def set_sizes(sets: pd.Series) -> pd.Series:
    """Return the number of labels in each prediction set."""
    return sets.map(len).astype(int)


def common_labels(sets: pd.Series, parents: pd.DataFrame) -> pd.Series:
    """Return for each prediction set the finest label that covers all of its members.

    That is its only member, or the finest coarser label that all members share, or "" if there is
    none or the set is empty.

    Args:
        sets: a list of labels per cell.
        parents: coarser labels of each label, from `hierarchy`.
    """
    found = {members: _common(members, parents) for members in set(map(tuple, sets))}
    return pd.Series([found[tuple(members)] for members in sets], index=sets.index, dtype=object)


def _common(members: tuple[str, ...], parents: pd.DataFrame) -> str:
    if len(members) == 1:
        return members[0]
    for column in parents:
        shared = set(parents[column].reindex(list(members)))
        if len(shared) == 1 and isinstance(only := shared.pop(), str):
            return only
    return ""


def join_set(labels: Iterable[str]) -> str:
    """Return a prediction set as text, its labels separated by " | ".

    A label that contains the separator, or starts with a quotation mark, is put in quotation marks,
    and quotation marks in it are doubled, as in csv: the text stands for one set only.
    """
    return SEPARATOR.join(_quoted(label) for label in labels)


def _quoted(label: str) -> str:
    if label.startswith(QUOTE) or SEPARATOR in f" {label} ":
        return QUOTE + label.replace(QUOTE, 2 * QUOTE) + QUOTE
    return label


def split_set(text: str) -> list[str]:
    """Return the labels of a prediction set that `join_set` wrote as text."""
    labels, rest = [], text
    while rest:
        if rest.startswith(QUOTE):
            end = _end_of_quotes(rest)
            labels.append(rest[1:end].replace(2 * QUOTE, QUOTE))
            rest = rest[end + 1 :].removeprefix(SEPARATOR)
        else:
            label, _, rest = rest.partition(SEPARATOR)
            labels.append(label)
    return labels


def _end_of_quotes(text: str) -> int:
    """Return the position of the closing quotation mark of a text that begins with one."""
    end = 1
    while text[end] != QUOTE or text[end + 1 : end + 2] == QUOTE:
        end += 2 if text[end] == QUOTE else 1
    return end
