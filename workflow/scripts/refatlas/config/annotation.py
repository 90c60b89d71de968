"""The table that names clusters, checked before anything runs. Light: Snakemake reads it at every start."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from refatlas.config.validation import did_you_mean, require_plain_path
from refatlas.config.written_tables import (
    level_columns,
    plain_name,
    read_table,
    require_one_parent,
    require_usable_names,
)
from refatlas.errors import InputError, listed, shown
from refatlas.models.registry import BASELINE, MODEL_TYPES, whole_models

OF_CLUSTER = ("model", "resolution", "cluster")
REQUIRED = (*OF_CLUSTER, "label")
# What a person may write in the column exclude.
YES, NO = ("yes", "y", "x", "true", "1"), ("", "no", "n", "false", "0", "-")


@dataclass(frozen=True)
class NamedCluster:
    """One row of the annotation.

    Attributes:
        line: in the file.
        model, resolution, cluster: which cluster, as text.
        labels: its names, finest level first; empty if it has no name yet.
        exclude: whether its cells are excluded.
        note, by: what a person wrote about it, and who.
        held: the cells that it held when the template was written, as `refatlas.annotate.held_cells` writes them.
    """

    line: int
    model: str
    resolution: str
    cluster: str
    labels: tuple[str, ...]
    exclude: bool
    note: str
    by: str
    held: str

    @property
    def decided(self) -> bool:
        """Whether the cluster has a name or is excluded."""
        return self.exclude or bool(self.labels)


def reads_labels(kind: str) -> bool:
    """Return whether training a type reads labels, so that its clusters cannot make them."""
    return kind == BASELINE or MODEL_TYPES[kind].needs_labels


def read_annotation(path: str, config: dict[str, Any]) -> list[NamedCluster]:
    """Return the rows of an annotation, one per cluster, checked against the configuration.

    Args:
        path: as of `parse_annotation`.
        config: of `complete_config`.

    Raises:
        InputError: of `parse_annotation`; a model or resolution does not exist; the model is trained with labels; or a
            name means "no label".
    """
    rows = parse_annotation(path)
    no_label = {"-", *map(plain_name, config["unlabeled"])} - {""}
    for row in rows:
        _check_cluster(path, row, config)
        _require_labels(path, row, no_label)
    return rows


def _require_labels(path: str, row: NamedCluster, no_label: set[str]) -> None:
    for label in row.labels:
        if label in no_label:
            raise InputError(
                f'{path}, line {row.line}: label {shown(repr(label))} means "no label", here or in the config\'s'
                " unlabeled; leave the label empty"
            )


def parse_annotation(path: str) -> list[NamedCluster]:
    """Return the rows of an annotation, one per cluster.

    Args:
        path: of a tab-separated table with the columns model, resolution, cluster and label; also label_2 … for
            coarser levels, exclude, note, by and held. Other columns are not read.

    Raises:
        InputError: the file or a column is missing, a row has no model, resolution or cluster, a cluster is named
            twice, or names contradict each other.
    """
    where = f"config: annotation: {path!r}"
    require_plain_path(path, where)
    if not os.path.isfile(path):
        raise InputError(
            f"{where} does not exist (from {os.getcwd()}); fill in one of the templates that a run without annotation"
            " writes, results/reference/models/MODEL/annotation/RESOLUTION.tsv, and name the copy"
        )
    header, table = read_table(path, REQUIRED, "an annotation")
    levels = level_columns(path, header, "label")
    rows = [_read_row(path, line, row, levels) for line, row in table]
    _check_unique(path, rows)
    _check_models(path, rows)
    require_one_parent(path, ((row.line, f"cluster {row.cluster}", row.labels) for row in rows if row.labels))
    if not any(row.decided for row in rows):
        raise InputError(f"{path}: no cluster has a label; write names in the column label, or leave annotation out")
    return rows


def _read_row(path: str, line: int, row: dict[str, str], levels: list[str]) -> NamedCluster:
    for column in OF_CLUSTER:
        if not row.get(column):
            raise InputError(
                f"{path}, line {line}: the {column} is empty; copy model, resolution and cluster from the template,"
                " separated by tabs, or delete the line"
            )
    labels = tuple(plain_name(row.get(level, "")) for level in levels)
    exclude = row.get("exclude", "").lower()
    if exclude not in (*YES, *NO):
        raise InputError(f"{path}, line {line}: exclude {shown(repr(row['exclude']))} is neither yes nor no")
    require_usable_names(f"{path}, line {line}", labels)
    return NamedCluster(
        line,
        row["model"],
        _number(row["resolution"]),
        _number(row["cluster"]),
        labels if any(labels) else (),
        exclude in YES,
        *(row.get(name, "") for name in ("note", "by", "held")),
    )


def _number(text: str) -> str:
    """Return a number as the names of columns have it; spreadsheets write 1.0 for 1."""
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def _check_cluster(path: str, row: NamedCluster, config: dict[str, Any]) -> None:
    where, models = f"{path}, line {row.line}", whole_models(config["models"])
    if row.model not in models:
        raise InputError(
            f"{where}: model {shown(repr(row.model))} is not in the config's models{did_you_mean(row.model, models)};"
            f" there are {listed(models)}"
        )
    if reads_labels(models[row.model]["type"]):
        others = [name for name, settings in models.items() if not reads_labels(settings["type"])]
        raise InputError(
            f"{where}: model {row.model!r} is trained with the labels that the annotation makes; annotate the clusters"
            f" of a model that reads no labels: {listed(others)}"
        )
    resolutions = resolution_names(config)
    if row.resolution not in resolutions:
        raise InputError(
            f"{where}: resolution {shown(repr(row.resolution))} is not in the config's clusters.resolutions; there are"
            f" {listed(resolutions)}"
        )
    if not row.cluster.isdigit():
        raise InputError(f"{where}: cluster {shown(repr(row.cluster))} is no number; clusters are numbered from 0")


def resolution_names(config: dict[str, Any]) -> list[str]:
    """Return the resolutions of the clusters as text, as their columns are named; from coarse to fine."""
    return [f"{resolution:g}" for resolution in sorted(config["clusters"]["resolutions"])]


def _check_unique(path: str, rows: list[NamedCluster]) -> None:
    seen: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row.model, row.resolution, row.cluster)
        if key in seen:
            raise InputError(
                f"{path}, line {row.line}: cluster {row.cluster} of {row.model}, resolution {row.resolution}, is named"
                f" in line {seen[key]} already; keep one of them"
            )
        seen[key] = row.line


def _check_models(path: str, rows: list[NamedCluster]) -> None:
    models = list(dict.fromkeys(row.model for row in rows if row.decided))
    if len(models) > 1:
        raise InputError(
            f"{path}: names clusters of several models ({listed(models)}), and a cell has one label; keep the rows of"
            " one model"
        )


def named_levels(rows: Collection[NamedCluster]) -> int:
    """Return the number of label levels of an annotation; 0 if it only takes clusters out."""
    return max((sum(map(bool, row.labels)) for row in rows), default=0)
