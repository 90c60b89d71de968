"""The choice among several matrices that hold integers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.matrix_sample import Sample
from refatlas.io.place_names import Role, role_of
from refatlas.io.rounded_values import Doubt, doubt_of, has_ones
from refatlas.io.value_kinds import COUNTS, ESTIMATED, NEARLY, UNCLEAR, ZEROS

SUM = "+"


@dataclass
class Place:
    """A matrix of the file.

    Attributes:
        location: such as "X", "layers/counts", "raw/X".
        shape: cells and genes.
        sample: of its values, None for one that cannot be counts.
        why: why it was passed over, or taken.
    """

    location: str
    shape: tuple[int, int] = (0, 0)
    sample: Sample | None = None
    why: str = ""
    taken: bool = False
    role: Role = field(init=False)

    def __post_init__(self) -> None:
        self.role = role_of(self.location)

    @property
    def are_counts(self) -> bool:
        return self.sample is not None and self.sample.kind in (COUNTS, NEARLY)

    @property
    def mean_counts(self) -> float | None:
        return None if self.sample is None else self.sample.mean_counts

    @cached_property
    def doubt(self) -> tuple[Doubt, str]:
        """How far the integers are from being counts, and why; of a selection of the genes, nothing is said."""
        if self.sample is None or len(self.sample.genes) != self.shape[1]:
            return Doubt.NONE, ""
        return doubt_of(self.sample.block)

    def __str__(self) -> str:
        if self.sample is None:
            return f"{self.location} ({self.why})"
        said = "" if self.are_counts else f"{self.sample.kind}, "
        return f"{self.location} ({said}{self.shape[1]:,} genes, {self.sample.mean_counts:,.1f} per cell)"


def numbers(place: Place) -> str:
    """Return genes and counts per cell of a place, in brackets, for a note."""
    return "" if place.sample is None else f" ({place.shape[1]:,} genes, {place.sample.mean_counts:,.1f} per cell)"


class Chooser:
    """Chooses among the matrices of one file, and notes why each other is passed over."""

    def __init__(self, path: str, places: list[Place], names: Callable[[str], pd.Index] | None) -> None:
        self.path, self.places, self.names = path, places, names

    def choose(self) -> tuple[Place, str]:
        """Return the place of the raw counts, and why.

        Raises:
            InputError: nothing decides.
        """
        self._name_kinds()
        parts = self._parts()
        for place in parts:
            place.why = "a part of the counts"
        counts = [place for place in self.places if place.are_counts and place not in parts]
        counts = [place for place in counts if not self._is_no_count(place, counts)]
        if counts:
            return self._with_warning(*self._best(self._without_doubtful(counts)), parts)
        if parts:
            remedy = "their sum, such as " if len(parts) > 1 else "it: "
            raise self._refusal("only parts of the counts", f"set layer to {remedy}{self._sum_of(parts)}")
        return self._without_counts()

    def _name_kinds(self) -> None:
        for place in self.places:
            if place.sample is not None and not place.are_counts:
                place.why = {ZEROS: "zeros alone"}.get(place.sample.kind, place.sample.kind)
            elif place.sample is None and not place.why:
                place.why = "empty"

    def _parts(self) -> list[Place]:
        """Return places that are parts by name, and those that are equal to a part that has others beside it.

        X is none of them: what its author made the main matrix may be taken, with a note.
        """
        named = [place for place in self.places if place.are_counts and place.role == Role.PART]
        if len(named) < 2:
            return named
        others = [place for place in self.places if place.are_counts and place.role > Role.WHOLE]
        others = [place for place in others if place not in named and place.location != "X"]
        return named + [place for place in others if any(_equal(place, part) for part in named)]

    def _with_warning(self, chosen: Place, reason: str, parts: list[Place]) -> tuple[Place, str]:
        """Return the place and why, with a word on doubtful values, and on other parts if it is equal to one."""
        if chosen.doubt[0] != Doubt.NONE:
            reason += f", though {chosen.doubt[1]}; if these are no raw counts, set layer to the place that has them"
        same = next((part for part in parts if _equal(chosen, part)), None)
        if same is None or len(parts) < 2:
            return chosen, reason
        others = f"the other parts are left out; set layer to {self._sum_of(parts)} for all"
        return chosen, f"{reason}: it has the same values as {same.location}, so {others}"

    def _sum_of(self, parts: list[Place]) -> str:
        named = [place.location.removeprefix("layers/") for place in parts if place.role == Role.PART]
        return repr(SUM.join(sorted(named, key=lambda name: (name != "spliced", name != "unspliced", name))))

    def _is_no_count(self, place: Place, counts: list[Place]) -> bool:
        """Return whether a place of integers holds no counts by its name, only 0 and 1 of another, or is rounded."""
        if place.role in (Role.DERIVED, Role.INDICATOR):
            place.why = "by its name no raw counts"
        elif place.sample is not None and place.sample.largest <= 1 and self._has_more_than_ones(place, counts):
            place.why = "only 0 and 1"
        elif place.doubt[0] == Doubt.ROUNDED:
            place.why = place.doubt[1]
        return bool(place.why)

    @staticmethod
    def _without_doubtful(counts: list[Place]) -> list[Place]:
        """Return places without those of doubtful values that would come before others by their name.

        A name that means raw counts outweighs the doubt.
        """
        good = [place for place in counts if place.doubt[0] == Doubt.NONE]
        first = min((place.role for place in good), default=Role.RAW_COUNTS)
        passed = [p for p in counts if p.doubt[0] != Doubt.NONE and Role.RAW <= p.role < first]
        for place in passed:
            place.why = place.doubt[1]
        return [place for place in counts if place not in passed]

    def _has_more_than_ones(self, place: Place, counts: list[Place]) -> bool:
        """Return whether another place shows that a place of 0 and 1 is no more than an indicator."""
        # Beside a place that is named as raw counts, what was made from it by its name shows nothing.
        rivals = [other for other in counts if place.role >= Role.UNKNOWN or other.role < Role.DERIVED]
        if any(other.sample is not None and other.sample.largest > 1 for other in rivals):
            return True
        others = [other for other in self.places if other.sample is not None and other.sample.kind != ZEROS]
        is_layer = place.role == Role.UNKNOWN and place.location != "X"
        return is_layer and any(other is not place and not other.are_counts for other in others)

    def _best(self, counts: list[Place]) -> tuple[Place, str]:
        counts = self._without_copies(counts)
        role = min(place.role for place in counts)
        first = self._largest([place for place in counts if place.role == role])
        chosen = next((other for other in counts if self._is_selection(first, other)), first)
        for place in counts:
            if place is not chosen:
                place.why = f"a selection of the genes of {chosen.location}" if place is first else "other integers"
        if len(counts) == 1:
            return chosen, "the only place with counts"
        if chosen is not first:
            return chosen, f"which has all genes of {first.location} and more"
        return chosen, "the first by its name" if role < Role.UNKNOWN else "the place with the most counts"

    def _without_copies(self, counts: list[Place]) -> list[Place]:
        kept: list[Place] = []
        for place in counts:
            same = next((other for other in kept if _equal(other, place)), None)
            if same is None:
                kept.append(place)
            else:
                same.role = min(same.role, place.role)
                place.why = f"the same values as {same.location}"
        return kept

    def _largest(self, equals: list[Place]) -> Place:
        """Return the place that is nowhere smaller than others of the same standing."""
        for place in equals:
            if all(other is place or _contains(place, other) for other in equals):
                return place
        raise self._refusal("several places of different integers", "set layer to the one with the raw counts")

    def _is_selection(self, place: Place, other: Place) -> bool:
        """Return whether a place holds a selection of the genes of another, with the same counts."""
        if self.names is None or other.shape[1] <= place.shape[1] or place.sample is None or other.sample is None:
            return False
        if len(other.sample.genes) != other.shape[1] or len(place.sample.genes) != place.shape[1]:
            return place.sample.mean_counts <= other.sample.mean_counts
        positions = self.names(other.location).get_indexer_for(self.names(place.location))
        if len(positions) != place.shape[1] or (positions < 0).any():
            return False
        return _difference(place.sample.block, other.sample.block[:, positions])[1] <= 0

    def _without_counts(self) -> tuple[Place, str]:
        """Return the likeliest of places that hold no integers; the check of all values decides on it."""
        open_ones = [p for p in self.places if p.sample is not None and p.sample.kind != ZEROS and not p.are_counts]
        order = {ESTIMATED: 0, UNCLEAR: 1}
        if open_ones:
            found = min(open_ones, key=lambda p: (order.get(p.sample.kind if p.sample else "", 2), p.role))
            return found, f"though nothing in the file seems to hold counts ({found.why})"
        sized = [place for place in self.places if 0 in place.shape and place.why == "empty"]
        if sized and len(sized) == len(self.places):
            return sized[0], "though it is empty"
        raise self._refusal("no place with raw counts", "set layer to the one with the counts, or give another file")

    def _refusal(self, what: str, remedy: str) -> InputError:
        found = listed((f"{place}{self._reason(place)}" for place in self.places), 20)
        return InputError(f"{self.path}: {what} in the file: {found}; {remedy}")

    @staticmethod
    def _reason(place: Place) -> str:
        return f": {place.why}" if place.are_counts and place.why else ""


def _aligned(place: Place, other: Place) -> tuple[sparse.csr_matrix, sparse.csr_matrix] | None:
    """Return the samples of two places of one shape, over the genes that both sampled."""
    if place.shape != other.shape or place.sample is None or other.sample is None:
        return None
    _, here, there = np.intersect1d(place.sample.genes, other.sample.genes, return_indices=True)
    return place.sample.block[:, here], other.sample.block[:, there]


def _difference(block: sparse.csr_matrix, other: sparse.csr_matrix) -> tuple[float, float]:
    """Return the smallest difference of two blocks of counts, and the largest absolute one."""
    difference = block.astype(np.float64) - other.astype(np.float64)
    values = np.rint(difference.data) if difference.nnz else np.zeros(1)
    return min(float(values.min()), 0.0), float(np.abs(values).max())


def _equal(place: Place, other: Place) -> bool:
    blocks = _aligned(place, other)
    if blocks is None or place.sample is None or other.sample is None or not blocks[0].nnz:
        return False
    both_sparse = place.sample.n_stored is not None and other.sample.n_stored is not None
    if both_sparse and place.sample.n_stored != other.sample.n_stored:
        return False
    return _difference(*blocks)[1] == 0


def _contains(place: Place, other: Place) -> bool:
    """Return whether a place is nowhere smaller than another, and no multiple of counts."""
    blocks = _aligned(place, other)
    if blocks is None or place.sample is None or other.sample is None:
        return False
    is_more = place.sample.mean_counts >= other.sample.mean_counts
    return is_more and _difference(*blocks)[0] >= 0 and has_ones(blocks[0])
