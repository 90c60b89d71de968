"""Which labels of different datasets are the same, or contain each other, from where they lie in a latent space."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refatlas.annotate.label_positions import ENDS, LabelPositions
from refatlas.annotate.label_text import (
    CONTAINS,
    PART_OF,
    REVERSE,
    SAME,
    Label,
    TreeOfLabels,
    has_more_words,
    same_words,
    similar_words,
)

# Of labels with fewer cells nothing is said: a share of four cells says little.
MIN_CELLS = 5
# Labels that are the same vote for each other like for themselves within their datasets: both shares are at least this
# part of the smaller share within, or half of it for labels with the same text.
MIN_RELATIVE_SHARE = 0.5
# Least strength (geometric mean of both shares) of labels that are the same, and of those that show what is usual.
MIN_STRENGTH, USUAL_STRENGTH = 0.25, 0.5
# Nearly all cells of a part vote for the whole, and most of the whole's cells beside them vote for the part.
MIN_PART, MIN_RETURNED = 0.8, 0.5
# Labels whose own cells vote less for them are not told apart within their dataset.
MIN_OWN_SHARE = 0.5
# Share of the whole's cells that vote for a part, at least, and for all parts together. Some of it is confusion: as
# much as within the dataset of the parts, where these are told apart; only more than twice of it counts.
MIN_OF_WHOLE, MOST_OF_WHOLE, TIMES_CONFUSION = 0.1, 0.7, 2
# Two datasets mix in a latent space if the pairs of labels that vote for each other usually mix by as much as this.
# Only then can a pair lie apart: it mixes by less than this part of what is usual.
MIXES, MIN_RELATIVE_MIXING = 0.1, 0.5
# Labels that are the same may rather contain each other if another label is a part but for this.
MAYBE_RETURNED = 0.3
# Relations are sure only from this share, and this number of cells: of fewer, a share of 0.8 may be one of 0.6.
SURE_SHARE, MODERATE_SHARE, SURE_CELLS = 0.8, 0.5, 20
APART = "apart"
BACK = {"share": "share_back", "returned": "returned_back"}
SWAPPED = {**dict(zip(ENDS, (*ENDS[2:], *ENDS[:2]), strict=True)), **BACK, **{b: a for a, b in BACK.items()}}


@dataclass
class Relations:
    """What is known of the labels of datasets.

    Attributes:
        labels: of `LabelPositions`, with own_share and beside (the label of the same dataset that most of its other
            cells vote for).
        pairs: of `LabelPositions`, with strength, usual_mixing, same_text, tree (what the tree says), fewest and
            own_share (cells, and share within its dataset, of the label that has less of it), relation (of a to b:
            same, contains, part of, apart, or "" for none), sure (high, moderate, low) and doubt (text).
    """

    labels: pd.DataFrame
    pairs: pd.DataFrame

    def both_ways(self) -> pd.DataFrame:
        """Return the pairs, and again with a and b exchanged."""
        back = self.pairs.rename(columns=SWAPPED)
        back["relation"] = back["relation"].map(lambda name: REVERSE.get(name, name))
        return pd.concat([self.pairs, back])


def relate_labels(positions: LabelPositions, tree: TreeOfLabels | None = None) -> Relations:
    """Return which labels are the same, and which contain each other.

    Labels are the same if each is the other's best counterpart by the geometric mean of both shares. That also holds
    for two types of which each dataset has only one. These lie apart: their cells mix less than those of other pairs,
    or a third dataset has both types, and tells them apart.

    Args:
        positions: of the labels.
        tree: learned in the same latent space; evidence beside the positions.
    """
    labels, pairs = _with_own_share(positions), positions.pairs.copy()
    ends = [list(zip(pairs[d], pairs[name], strict=True)) for d, name in (ENDS[:2], ENDS[2:])]
    by_label = labels.set_index(["dataset", "label"])
    for column, name in (("fewest", "n_cells"), ("own_share", "own_share")):
        values = by_label[name].to_dict()
        pairs[column] = [min(values[a], values[b]) for a, b in zip(*ends, strict=True)]
    pairs["same_text"] = [same_words(a, b) for (_, a), (_, b) in zip(*ends, strict=True)]
    pairs["tree"] = [tree.relation(a, b) if tree else "" for a, b in zip(*ends, strict=True)]
    pairs["strength"] = np.sqrt(pairs["share"].astype(float) * pairs["share_back"].astype(float))
    best = _mutual_best(pairs) & (pairs["fewest"] >= MIN_CELLS)
    usual = pairs["mixing"].where(best & (pairs["strength"] >= USUAL_STRENGTH))
    pairs["usual_mixing"] = usual.groupby([pairs["dataset_a"], pairs["dataset_b"]]).transform("median").fillna(0.0)
    pairs["relation"], pairs["doubt"] = "", ""
    found = Relations(labels, pairs)
    _find_same(found, best)
    _find_parts(found, positions.within)
    _compare_third_datasets(found)
    _doubt_wholes(found)
    pairs["sure"] = [_sure(pair) for pair in pairs.itertuples()]
    return found


def _with_own_share(positions: LabelPositions) -> pd.DataFrame:
    """Return the labels with the share of their cells that vote for them, and the label beside them."""
    within, keys = positions.within, ["dataset", "label"]
    is_own = within["label"] == within["other"]
    own = within[is_own].set_index(keys)["share"].rename("own_share")
    others = within[~is_own & (within["share"] > 0)].sort_values("share", ascending=False, kind="stable")
    beside = others.drop_duplicates(keys).set_index(keys)["other"].rename("beside")
    return positions.labels.join(own, on=keys).join(beside, on=keys).fillna({"beside": ""})


def _mutual_best(pairs: pd.DataFrame) -> pd.Series:
    """Return whether each pair is the strongest of both its labels between the two datasets."""
    best = pairs["strength"] > 0
    for end in ("label_a", "label_b"):
        best &= pairs["strength"] == pairs.groupby(["dataset_a", "dataset_b", end])["strength"].transform("max")
    return best


def lies_apart(pair: Any) -> bool:
    """Return whether the cells of a pair mix less than those of other pairs of the same datasets."""
    return pair.usual_mixing >= MIXES and pair.mixing < MIN_RELATIVE_MIXING * pair.usual_mixing


def mixes(pair: Any) -> bool:
    """Return whether the cells of a pair mix as those of other pairs of the same datasets do."""
    return pair.usual_mixing >= MIXES and pair.mixing >= MIN_RELATIVE_MIXING * pair.usual_mixing


def _find_same(found: Relations, best: pd.Series) -> None:
    """Fill in the relations of best counterparts."""
    for pair in found.pairs[best].itertuples():
        needed = MIN_RELATIVE_SHARE * pair.own_share * (0.5 if pair.same_text else 1)
        if pair.strength >= MIN_STRENGTH and min(pair.share, pair.share_back) >= needed:
            apart = lies_apart(pair)
            found.pairs.loc[pair.Index, "relation"] = APART if apart else SAME
            if apart:
                found.pairs.loc[pair.Index, "doubt"] = (
                    f"their cells mix less ({pair.mixing:.2f}) than those of other labels of the two datasets"
                    f" ({pair.usual_mixing:.2f})"
                )


def _find_parts(found: Relations, within: pd.DataFrame) -> None:
    """Fill in the relations of labels that contain several labels of another dataset."""
    confusion = within.set_index(["dataset", "label", "other"])["share"].to_dict()
    pairs = found.both_ways()
    pairs["forward"] = np.repeat([True, False], len(found.pairs))
    for (_, whole, dataset), group in pairs.groupby(["dataset_a", "label_a", "dataset_b"], sort=False):
        main = group.loc[group["share"].idxmax(), "label_b"]
        parts = [
            pair
            for pair in group.itertuples()
            if pair.fewest >= MIN_CELLS and pair.share_back >= MIN_PART and not lies_apart(pair)
        ]
        by_text = [pair for pair in parts if has_more_words(pair.label_b, whole)]
        by_position = [
            pair for pair in parts if _is_part(pair, confusion.get((dataset, main, pair.label_b), 0.0), main)
        ]
        if sum(pair.share for pair in by_position) < MOST_OF_WHOLE:
            by_position = []
        for pair in max(by_text, by_position, key=len) if max(len(by_text), len(by_position)) > 1 else ():
            found.pairs.loc[pair.Index, "relation"] = CONTAINS if pair.forward else PART_OF


def _is_part(pair: Any, confusion: float, main: str) -> bool:
    """Return whether b is a part of a by their positions, of which datasets that do not mix say nothing.

    Args:
        confusion: share of the largest part's cells that vote for b within its own dataset.
        main: the largest part.
    """
    needed = MIN_OF_WHOLE if pair.label_b == main else MIN_OF_WHOLE + TIMES_CONFUSION * confusion
    return mixes(pair) and pair.returned_back >= MIN_RETURNED and pair.share >= needed


def _compare_third_datasets(found: Relations) -> None:
    """Correct labels that look the same by what a third dataset says, which has more types than the two.

    One contains the other if it contains the other's counterpart in the third dataset. They lie apart if they have
    different counterparts there, with which they mix more.
    """
    known = found.both_ways()
    known = known[known["relation"].isin([SAME, CONTAINS, PART_OF])]
    of: dict[Label, dict[Label, tuple[str, float]]] = {}
    for pair in known.itertuples():
        of.setdefault((pair.dataset_a, pair.label_a), {})[pair.dataset_b, pair.label_b] = pair.relation, pair.mixing
    for pair in found.pairs[found.pairs["relation"] == SAME].itertuples():
        a, b = (pair.dataset_a, pair.label_a), (pair.dataset_b, pair.label_b)
        relation, doubt = SAME, ""
        for c, (to_a, mixing_a) in of[a].items():
            to_b, _ = of[b].get(c, ("", 0.0))
            if {to_a, to_b} == {SAME, CONTAINS}:
                relation, doubt = (CONTAINS if to_a == CONTAINS else PART_OF), f"by its relation to {c[1]} of {c[0]}"
            others = [
                other
                for other, (name, mixing_b) in of[b].items()
                if other[0] == c[0] and other != c and name == to_a == SAME and min(mixing_a, mixing_b) > pair.mixing
            ]
            if others and c[0] != b[0] and relation == SAME:
                relation, doubt = APART, f"{c[0]} tells them apart, as {c[1]} and {others[0][1]}"
        found.pairs.loc[pair.Index, ["relation", "doubt"]] = relation, doubt


def _doubt_wholes(found: Relations) -> None:
    """Note which labels that are the same may rather contain each other."""
    pairs = found.both_ways()
    for (dataset, whole, other), group in pairs.groupby(["dataset_a", "label_a", "dataset_b"], sort=False):
        same = group[group["relation"] == SAME]
        if same.empty:
            continue
        maybe = group[
            (group["relation"] == "")
            & (group["fewest"] >= MIN_CELLS)
            & (group["share_back"] >= MIN_PART)
            & (group["returned_back"] >= MAYBE_RETURNED)
        ]
        texts = [f"{whole} of {dataset} may also contain {label} of {other}" for label in maybe["label_b"]]
        if has_more_words(same["label_b"].iloc[0], whole):
            texts.append(f"by its name, {whole} of {dataset} may contain more")
        known = found.pairs.loc[same.index[0], "doubt"]
        found.pairs.loc[same.index[0], "doubt"] = "; ".join([*filter(None, [known]), *texts])


def _sure(pair: Any) -> str:
    """Return how sure a relation is: by how many cells vote for it, and by the evidence beside their votes."""
    if pair.relation not in REVERSE:
        return ""
    support = {SAME: pair.strength, CONTAINS: pair.share_back, PART_OF: pair.share}[pair.relation]
    beside = (
        mixes(pair)
        + (pair.relation == SAME and similar_words(pair.label_a, pair.label_b))
        + (pair.tree == pair.relation)
    )
    beside -= pair.tree not in ("", pair.relation)
    if pair.relation == CONTAINS:
        beside += has_more_words(pair.label_b, pair.label_a)
    elif pair.relation == PART_OF:
        beside += has_more_words(pair.label_a, pair.label_b)
    if support >= SURE_SHARE and beside >= 1 and pair.fewest >= SURE_CELLS and not pair.doubt:
        return "high"
    return "moderate" if support >= MODERATE_SHARE and beside >= 1 else "low"
