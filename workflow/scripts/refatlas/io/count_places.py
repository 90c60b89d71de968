"""Which matrix of an AnnData file holds the raw counts.

The order: what the sheet says; names that mean raw counts; raw; then the place with the most genes
and counts. Parts of the counts, such as spliced ones, and indicators are never taken by themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.matrix_rows import Rows, matrix_shape, open_matrix, summed_rows
from refatlas.io.matrix_sample import sample_matrix
from refatlas.io.place_choice import SUM, Chooser, Place, numbers
from refatlas.io.value_kinds import ZEROS

NO_MATRIX = "no matrix of numbers"


@dataclass
class Choice:
    """The matrix that was chosen: its location, its rows, notes on why, and all that were looked at."""

    location: str
    rows: Rows
    notes: list[str]
    places: list[dict[str, Any]]


def locations(group: Any) -> dict[str, str]:
    """Return where an AnnData file has matrices, and the path of each in the file."""
    found = {"X": "X"} if _is_there(group, "X") else {}
    layers = group["layers"] if "layers" in group and hasattr(group["layers"], "keys") else {}
    found |= {f"layers/{name}": f"layers/{name}" for name in sorted(layers) if _is_there(layers, name)}
    # Some writers leave an empty array named raw where there is none; anndata 0.6 has raw.X beside X.
    if "raw" in group and hasattr(group["raw"], "keys") and _is_there(group["raw"], "X"):
        return found | {"raw/X": "raw/X"}
    return found | ({"raw/X": "raw.X"} if _is_there(group, "raw.X") else {})


def _is_there(group: Any, name: str) -> bool:
    return name in group and (hasattr(group[name], "keys") or group[name].shape is not None)


def find_places(group: Any, n_cells: int) -> list[Place]:
    """Return all matrices of a file with a sample of each.

    Args:
        group: of h5py or zarr.
        n_cells: that the file names.
    """
    return [_look_at(location, group[path], n_cells) for location, path in locations(group).items()]


def _look_at(location: str, element: Any, n_cells: int) -> Place:
    place = Place(location)
    try:
        place.shape = matrix_shape(element)
        if place.shape[0] != n_cells:
            place.why = f"{place.shape[0]:,} cells instead of {n_cells:,}"
        elif 0 not in place.shape:
            place.sample = sample_matrix(element)
    except (ValueError, KeyError, AttributeError) as error:
        place.why = f"{NO_MATRIX}: {error}"
    return place


def choose_place(
    group: Any, path: str, layer: str | None, n_cells: int, names: Callable[[str], pd.Index] | None = None
) -> Choice:
    """Return the matrix of raw counts of an AnnData file.

    Args:
        group: of h5py or zarr.
        path: of the file, for messages.
        layer: as in the sheet.
        n_cells: that the file names.
        names: function of a location that returns the names of its genes.

    Raises:
        InputError: there is no such layer, it holds zeros alone, or nothing decides.
    """
    if not locations(group):
        raise InputError(f"{path}: no X, layers or raw in the file; counts are missing")
    if layer is not None:
        return _as_set(group, path, layer, n_cells)
    places = find_places(group, n_cells)
    chosen, reason = Chooser(path, places, names).choose()
    chosen.taken, chosen.why = True, reason
    notes = [f"counts: {chosen.location}, {reason}{numbers(chosen)}"]
    passed = [place for place in places if not place.taken]
    if passed:
        notes.append("counts: passed over " + "; ".join(f"{_short(place)}" for place in passed))
    rows = open_matrix(group[locations(group)[chosen.location]])
    return Choice(chosen.location, rows, notes, [_row(place) for place in places])


def _row(place: Place) -> dict[str, Any]:
    return {
        "location": place.location,
        "n_genes": place.shape[1],
        "mean_counts": place.mean_counts,
        "taken": place.taken,
        "why": place.why,
    }


def _short(place: Place) -> str:
    return f"{place.location}, {place.why}{numbers(place) if place.are_counts else ''}"


def _resolve(found: dict[str, str], layer: str) -> str | None:
    """Return the location that a sheet's layer means, or None."""
    names = (layer, {"raw": "raw/X", "raw.X": "raw/X"}.get(layer, ""), f"layers/{layer}")
    return next((name for name in names if name in found), None)


def _as_set(group: Any, path: str, layer: str, n_cells: int) -> Choice:
    found = locations(group)
    wanted = [_resolve(found, layer)]
    if wanted[0] is None and SUM in layer:
        wanted = [_resolve(found, part.strip()) for part in layer.split(SUM)]
    chosen = [location for location in wanted if location is not None]
    if len(chosen) < len(wanted):
        raise InputError(f"{path}: layer {layer!r} is not in the file; it has {listed(found)}")
    places = [_look_at(location, group[found[location]], n_cells) for location in dict.fromkeys(chosen)]
    if len(places) < len(chosen):
        raise InputError(f"{path}: layer {layer!r} names a matrix twice; name each part once")
    _require_values(group, path, places, n_cells)
    for place in places:
        place.taken, place.why = True, "as set in the sheet"
    rows = [open_matrix(group[found[place.location]]) for place in places]
    location = SUM.join(place.location for place in places)
    what = location if len(places) == 1 else "the sum of " + listed(f"{p.location}{numbers(p)}" for p in places)
    note = f"counts: {what}, as set in the sheet{numbers(places[0]) if len(places) == 1 else ''}"
    return Choice(location, rows[0] if len(rows) == 1 else summed_rows(rows), [note], [_row(p) for p in places])


def _require_values(group: Any, path: str, places: list[Place], n_cells: int) -> None:
    """Raise an InputError if places that the sheet names are no matrices of one size, or are zeros alone."""
    unread = next((place for place in places if place.why.startswith(NO_MATRIX)), None)
    if unread is not None:
        raise InputError(f"{path}: {unread.location} is {unread.why}; set layer to the matrix of the raw counts")
    if len({place.shape for place in places}) > 1:
        raise InputError(f"{path}: {listed(places)} differ in size and cannot be added; name others as layer")
    if all(place.sample is not None and place.sample.kind == ZEROS for place in places):
        others = [place for place in find_places(group, n_cells) if place.are_counts]
        raise InputError(
            f"{path}: {listed(place.location for place in places)} holds zeros alone; counts seem to be in"
            f" {listed(others)}; set layer to the one with the counts"
        )
