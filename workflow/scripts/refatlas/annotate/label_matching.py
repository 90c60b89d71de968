"""Names that the labels of several datasets could have in common: suggestions, and what people decided."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from refatlas.annotate.label_positions import ENDS, clean_labels
from refatlas.annotate.label_relations import APART, MIN_CELLS, MIN_OWN_SHARE, SURE_CELLS, Relations
from refatlas.annotate.label_text import CONTAINS, PART_OF, SAME, Label, clean_text, same_words
from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import label_column, label_columns

# In the column name of a label map: the cells lose their label.
NO_LABEL = "-"
# Labels that vote for each other with less than this part of their shares within their datasets do not overlap.
OVERLAPS = 0.25
# With counterparts of less than this strength, it is sure that there is none.
NO_COUNTERPART = 0.1
GRADES = ("high", "moderate", "low")
UNRESOLVED, ALONE = "unresolved", "no counterpart"


def agreement_table(found: Relations) -> pd.DataFrame:
    """Return label_agreement.csv: all labels of different datasets that vote for each other, in both directions."""
    columns = ["share", "share_back", "mixing", "usual_mixing", "relation", "sure", "doubt", "same_text", "tree"]
    table = found.both_ways()[[*ENDS, *columns]]
    return table.sort_values(
        ["dataset_a", "label_a", "dataset_b", "share", "label_b"], ascending=[True, True, True, False, True]
    ).reset_index(drop=True)


def same_groups(found: Relations) -> list[list[Label]]:
    """Return the labels in groups that are the same; no group has two labels of a dataset.

    The surest and strongest pairs are joined first. Groups are not joined if any of their labels contain each other or
    lie apart.

    Returns:
        All labels, each in one group, in the order of the labels.
    """
    labels = list(zip(found.labels["dataset"], found.labels["label"], strict=True))
    group = {label: {label} for label in labels}
    pairs = found.pairs
    barred = {
        frozenset([(pair.dataset_a, pair.label_a), (pair.dataset_b, pair.label_b)])
        for pair in pairs[pairs["relation"].isin([CONTAINS, PART_OF, APART])].itertuples()
    }
    same = pairs[pairs["relation"] == SAME].assign(rank=lambda t: t["sure"].map(GRADES.index))
    for pair in same.sort_values(["rank", "strength"], ascending=[True, False], kind="stable").itertuples():
        a, b = group[pair.dataset_a, pair.label_a], group[pair.dataset_b, pair.label_b]
        if a is b or any(x[0] == y[0] or frozenset([x, y]) in barred for x in a for y in b):
            continue
        a |= b
        group.update(dict.fromkeys(b, a))
    unique = {id(members): members for members in group.values()}
    return [sorted(members, key=labels.index) for members in unique.values()]


def common_name(members: list[Label], n_cells: dict[Label, int]) -> str:
    """Return the name of a group: the text that most of its datasets use, as the largest of these writes it.

    Before all, one that no label outside has.

    Args:
        members: its labels.
        n_cells: of all labels of all datasets.
    """
    outside = [text for dataset, text in n_cells if (dataset, text) not in members]

    def rank(member: Label) -> tuple[bool, int, int, int, int]:
        text = member[1]
        alike = [other for other in members if same_words(other[1], text)]
        spelled = sum(other == text for _, other in members)
        is_outside = any(same_words(other, text) for other in outside)
        return not is_outside, len(alike), spelled, sum(n_cells[other] for other in alike), n_cells[member]

    return max(members, key=rank)[1]


def suggest_names(found: Relations, n_levels: int = 1) -> pd.DataFrame:
    """Return the template of a label map: one row per label of a dataset, without any decision.

    Returns:
        Columns dataset, label, n_cells, name (empty; also name_2 … for coarser levels), suggestion (empty if it is
        unresolved), sure (of the suggestion), relation (to labels of other datasets), and evidence.
    """
    n_cells = {(row.dataset, row.label): int(row.n_cells) for row in found.labels.itertuples()}
    pairs = found.both_ways()
    by_label = dict(list(pairs.groupby(["dataset_a", "label_a"], sort=False)))
    empty = {label_column(level + 1).replace("label", "name"): "" for level in range(n_levels)}
    rows = []
    for members in same_groups(found):
        name = common_name(members, n_cells)
        for label in members:
            own = by_label.get(label, pairs.iloc[:0])
            described = _describe(label, members, own, found.labels)
            suggestion = "" if described["relation"].startswith(UNRESOLVED) else name
            rows.append(
                {"dataset": label[0], "label": label[1], "n_cells": n_cells[label], **empty, "suggestion": suggestion}
                | described
            )
    order = {label: i for i, label in enumerate(n_cells)}
    rows.sort(key=lambda row: order[row["dataset"], row["label"]])
    columns = ["dataset", "label", "n_cells", *empty, "suggestion", "sure", "relation", "evidence"]
    return pd.DataFrame(rows, columns=columns)


def _describe(label: Label, members: list[Label], pairs: pd.DataFrame, labels: pd.DataFrame) -> dict[str, str]:
    """Return sure, relation and evidence of a label.

    Args:
        members: of its group.
        pairs: with it as a.
    """
    others = zip(pairs["dataset_b"], pairs["label_b"], strict=True)
    in_group = np.array([other in members for other in others], dtype=bool)
    same = pairs[(pairs["relation"] == SAME) & in_group]
    parts = pairs[pairs["relation"].isin([CONTAINS, PART_OF])]
    if same.empty and parts.empty:
        return _describe_alone(label, pairs, labels)
    kinds = {"same as": same} | {kind: parts[parts["relation"] == kind] for kind in (CONTAINS, PART_OF)}
    relation = "; ".join(f"{kind} {listed(_named(group))}" for kind, group in kinds.items() if len(group))
    evidence = [_evidence(pair) for pair in [*same.itertuples(), *parts.itertuples()]]
    for pair in pairs[~pairs.index.isin([*same.index, *parts.index])].itertuples():
        if pair.same_text:
            evidence.append(f"not {pair.label_b} ({pair.dataset_b}), in spite of its name: {_shares(pair)}")
    sure = min((same if len(same) else parts)["sure"], key=GRADES.index)
    return {"sure": sure, "relation": relation, "evidence": "; ".join(evidence)}


def _named(pairs: pd.DataFrame) -> list[str]:
    return [f"{label} ({dataset})" for label, dataset in zip(pairs["label_b"], pairs["dataset_b"], strict=True)]


def _shares(pair: Any) -> str:
    return f"{100 * pair.share:.0f} % of cells there, {100 * pair.share_back:.0f} % back"


def _evidence(pair: Any) -> str:
    """Return what speaks for a relation, as text."""
    texts = [f"{pair.label_b} ({pair.dataset_b}): {_shares(pair)}"]
    if pd.notna(pair.mixing):
        texts.append(f"mixing {pair.mixing:.2f} (usual {pair.usual_mixing:.2f})")
    if pair.same_text:
        texts.append("the same text")
    if pair.tree:
        texts.append(f"by the tree: {pair.tree}")
    if pair.doubt:
        texts.append(f"doubt: {pair.doubt}")
    return ", ".join(texts)


def _describe_alone(label: Label, pairs: pd.DataFrame, labels: pd.DataFrame) -> dict[str, str]:
    """Return sure, relation and evidence of a label without relations: that it has no counterpart, or why none is
    known.
    """
    row = labels[(labels["dataset"] == label[0]) & (labels["label"] == label[1])].iloc[0]
    reasons = _open_questions(row, pairs)
    if reasons:
        return {"sure": "", "relation": UNRESOLVED, "evidence": "; ".join(reasons)}
    nearest = pairs.sort_values("share", ascending=False, kind="stable").drop_duplicates("dataset_b")
    evidence = [
        f"nearest in {pair.dataset_b}: {pair.label_b}, {_shares(pair)}"
        for pair in nearest[nearest["share"] > 0].itertuples()
    ]
    is_sure = pairs["strength"].max() < NO_COUNTERPART and row.n_cells >= SURE_CELLS
    return {"sure": "high" if is_sure else "moderate", "relation": ALONE, "evidence": "; ".join(evidence)}


def _open_questions(row: Any, pairs: pd.DataFrame) -> list[str]:
    """Return why it is unclear whether a label has a counterpart; nothing if it has none."""
    if row.n_cells < MIN_CELLS:
        return [f"only {row.n_cells} labelled cells"]
    reasons = []
    if row.own_share < MIN_OWN_SHARE:
        reasons.append(
            f"not separated in this latent space: {100 * (1 - row.own_share):.0f} % of its cells lie by other labels of"
            f" its own dataset, mostly {row.beside}"
        )
    for pair in pairs.itertuples():
        to = f"{pair.label_b} ({pair.dataset_b})"
        if pair.relation == APART:
            reasons.append(f"nearest to {to}, but apart from it: {pair.doubt}")
        elif pair.relation == SAME:
            reasons.append(f"like {to}, which is more like others of this dataset or those that it matches")
        elif pair.same_text:
            reasons.append(f"has the name of {to}, but lies elsewhere: {_shares(pair)}")
        elif min(pair.share, pair.share_back) >= OVERLAPS * pair.own_share and pair.fewest >= MIN_CELLS:
            reasons.append(f"overlaps {to}: {_shares(pair)}")
    return reasons


def apply_label_map(cells: pd.DataFrame, dataset: str, rows: Sequence[Any]) -> pd.DataFrame:
    """Return a dataset's cells with the names of a label map; labels that are not in it stay as they are.

    Args:
        cells: of the dataset, with its labels: label, label_2 ….
        dataset: its name.
        rows: of `read_label_map`, of all datasets: line, dataset, label (at the finest level), names (finest first).

    Raises:
        InputError: the map names a label that the dataset does not have.
    """
    decided = {row.label: row for row in rows if row.dataset == dataset and row.names}
    if not decided:
        return cells
    labels = clean_labels(cells["label"]) if "label" in cells else pd.Series(None, index=cells.index, dtype=object)
    present = sorted(set(labels.dropna()))
    for label, row in decided.items():
        if clean_text(label) not in present:
            raise InputError(
                f"config: label_map: line {row.line}: dataset {dataset!r} has no label {shown(repr(label))}; it has"
                f" {listed(present, 40)}. Correct the label, or take the line out"
            )
    n_levels = max(len(row.names) for row in decided.values())
    levels = list(dict.fromkeys([*(label_column(i + 1) for i in range(n_levels)), *label_columns(cells)]))
    codes = pd.Index(list(decided)).get_indexer(labels)
    changed = {}
    for level, column in enumerate(levels):
        values = cells[column].astype(object).to_numpy(copy=True) if column in cells else np.full(len(cells), None)
        for code, row in enumerate(decided.values()):
            if row.names == (NO_LABEL,):
                values[codes == code] = None
            elif level < len(row.names):
                values[codes == code] = row.names[level]
        changed[column] = values
    return cells.assign(**changed)
