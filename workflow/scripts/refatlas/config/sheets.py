"""The sheets of the reference's datasets and of the queries, checked before anything runs."""

import csv
import io
import os
import re

from refatlas.config.folds import HELD_OUT, folds
from refatlas.config.schema_files import load_schema
from refatlas.config.settings import models_with_proteins
from refatlas.config.validation import did_you_mean, read_text, require_name, require_plain_path
from refatlas.errors import InputError, listed, shown

SHEETS = {"reference": "dataset", "queries": "query"}


def load_sheet(path: str, kind: str, config: dict, made: tuple[str, ...] = ()) -> dict[str, dict]:
    """Return the rows of a sheet by name, with the config's keys where a row names none.

    Args:
        kind: "reference" or "queries".
        made: paths that the workflow itself writes, and that therefore need not exist yet.

    Raises:
        InputError: the sheet or a file in it is missing, the sheet is empty, has an unknown column,
            or a name twice or not allowed.
    """
    name_column = SHEETS[kind]
    columns = list(load_schema(kind)["properties"])
    taken = {HELD_OUT, *folds(config["evaluation"])} if kind == "queries" else set()
    rows = {}
    for number, row in _read_rows(path, kind, columns):
        where = f"{path}, line {number}"
        name = row.get(name_column, "")
        require_name(name, f"{where}: {name_column}")
        if name in taken:
            raise InputError(f"{where}: query {name!r} is the name of the cells that folds hold out; rename the query")
        if name in rows:
            raise InputError(f"{where}: {name_column} {name!r} stands twice in the sheet; names must be unique")
        for key in ("path", "metadata"):
            if key == "path" or row.get(key):
                _require_file(row.get(key, ""), f"{where}: {name_column} {name!r}: {key}", made)
        if row.get("control") and not re.fullmatch(r"[^=]+=[^=]+", row["control"]):
            raise InputError(f"{where}: control {row['control']!r} is not like COLUMN=VALUE, such as condition=healthy")
        rows[name] = {"path": row["path"], **_keys(row, kind, config)}
    if not rows:
        raise InputError(
            f"{path}: the sheet has no row; give one a {name_column}, with the columns {name_column} and path"
        )
    return rows


def _require_file(path: str, where: str, made: tuple[str, ...]) -> None:
    require_plain_path(path, where)
    if os.path.isfile(path) or os.path.isdir(path) or _is_made(path, made):
        return
    reason = "is neither a file nor a folder" if os.path.exists(path) else "does not exist"
    raise InputError(
        f"{where} {shown(repr(path), 300)} {reason} (from {os.getcwd()}); give an absolute path, or one relative to the"
        " working directory"
    )


def _is_made(path: str, made: tuple[str, ...]) -> bool:
    return any(file == path or os.path.dirname(file) == path.rstrip("/") for file in made)


def _read_rows(path: str, kind: str, columns: list[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the line and the values by column of each row that is neither empty nor a comment."""
    if not os.path.isfile(path):
        reason = "is no file" if os.path.exists(path) else "does not exist"
        raise InputError(
            f"config: {kind}: {path!r} {reason} (from {os.getcwd()}); give a tab-separated file with the columns"
            f" {SHEETS[kind]} and path"
        )
    reader = csv.reader(
        ("\n" if line.startswith("#") else line for line in io.StringIO(read_text(path, path))),
        delimiter="\t",
        strict=True,
    )
    try:
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: {error}; put values that begin with a quote in quotes, and double the"
            " quotes in them"
        ) from None
    rows = [(number, row) for number, row in rows if any(row)]
    header = rows[0][1] if rows else []
    _check_header(header, path, columns)
    for number, row in rows[1:]:
        if any(row[len(header) :]):
            raise InputError(
                f"{path}, line {number}: {len(row)} values for {len(header)} columns; is there a tab within a value?"
            )
    return [(number, dict(zip(header, row, strict=False))) for number, row in rows[1:]]


def _check_header(header: list[str], path: str, columns: list[str]) -> None:
    for column in header:
        if column not in columns:
            raise InputError(
                f"{path}: unknown column {shown(repr(column))}{did_you_mean(column, columns)}; known columns:"
                f" {', '.join(columns)} (tab-separated)"
            )
        if header.count(column) > 1:
            raise InputError(f"{path}: column {column!r} stands twice; columns must be unique")
    for column in columns[:2]:
        if column not in header:
            raise InputError(
                f"{path}: column {column!r} is missing; the sheet has {listed(header)} (columns are separated by tabs)"
            )


def _keys(row: dict, kind: str, config: dict) -> dict:
    """Return where a row's counts, batches, labels, genes and proteins stand; `-` says that the
    file has none.

    A query's label column comes from its own row alone; `batch_is_default` and `protein_is_default`
    tell an explicit key from the config's.
    """
    default_label = config["label_key"] if kind == "reference" else "-"
    label = row.get("label_key") or default_label
    proteins = row.get("protein_key") or config["protein_key"]
    return {
        "layer": row.get("layer") or None,
        "batch_key": row.get("batch_key") or config["batch_key"],
        "batch_is_default": not row.get("batch_key"),
        "label_keys": [] if label == "-" else [key.strip() for key in label.split(",")],
        "gene_key": row.get("gene_key") or None,
        "protein_key": None if proteins == "-" else proteins,
        "protein_is_default": not row.get("protein_key"),
        "metadata": row.get("metadata") or None,
        "control": row.get("control") or None,
    }


def load_sheets(config: dict, made: tuple[str, ...] = ()) -> tuple[dict[str, dict], dict[str, dict]]:
    """Return the rows of the reference's and the queries' sheet, whose names must differ from each
    other.

    Raises:
        InputError: as `load_sheet`; also for a name in both sheets, and for datasets whose rows
            name different numbers of label levels,
            and for a model that needs proteins where no dataset has any.
    """
    datasets = load_sheet(config["reference"], "reference", config, made)
    queries = load_sheet(config["queries"], "queries", config, made)
    _check_updates(config["tree"]["update"], queries, config["queries"])
    _check_figures(config["models"], queries, config["queries"])
    both = [name for name in queries if name in datasets]
    if both:
        raise InputError(
            f"{config['queries']}: query {both[0]!r} has the name of a dataset in {config['reference']}; rename one of"
            " them"
        )
    levels = {len(row["label_keys"]) for row in datasets.values() if row["label_keys"]}
    if not levels:
        raise InputError(
            f"{config['reference']}: no dataset names labels, and a query's labels come from the reference; set"
            " label_key for at least one"
        )
    if len(levels) != 1:
        found = "; ".join(f"{name}: {', '.join(row['label_keys']) or 'none'}" for name, row in datasets.items())
        raise InputError(
            f"{config['reference']}: datasets name different numbers of label columns ({found}); name the same levels,"
            " finest first, or '-' for a dataset without labels"
        )
    needing = models_with_proteins(config)
    if needing and not any(row["protein_key"] for row in datasets.values()):
        raise InputError(
            f"config: models: {needing[0]}: type {config['models'][needing[0]]['type']} needs proteins, and no dataset"
            f" in {config['reference']} names any; set protein_key for at least one, or leave the model out"
        )
    return datasets, queries


def _check_updates(names: list[str], queries: dict[str, dict], sheet: str) -> None:
    for name in names:
        if name not in queries:
            raise InputError(f"config: tree: update: {name!r} is no query of {sheet}; it holds {listed(queries)}")
        if not queries[name]["label_keys"]:
            raise InputError(
                f"config: tree: update: query {name!r} has no labels to extend the tree with; name its column as"
                f" label_key in {sheet}"
            )


def _check_figures(models: dict, queries: dict[str, dict], sheet: str) -> None:
    drawn = {f"{model}_{figure}": model for model in models for figure in ("training", "umap")}
    for query in queries:
        if model := drawn.get(f"query_{query}"):
            raise InputError(
                f"{sheet}: the figure of query {query!r} would have the name of one of model {model!r}; rename one of"
                " them"
            )
