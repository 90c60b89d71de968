"""The sheets of the reference's datasets and of the queries, checked before anything runs."""

import csv
import io
import json
import os
import re
from collections.abc import Collection
from typing import Any

from refatlas.config.addresses import Address, address_key, check_sha256, is_address, parse_address, safe_address
from refatlas.config.receptors import parse_tables
from refatlas.config.schema_files import load_schema
from refatlas.config.settings import models_with_proteins, models_with_systems
from refatlas.config.validation import did_you_mean, read_text, require_name, require_plain_path
from refatlas.errors import InputError, listed, shown
from refatlas.io.formats import is_readable_path, require_readable
from refatlas.models.registry import MODEL_TYPES
from refatlas.prepare.protein_names import read_protein_names

# Sheets by the config's key, with the column of the names.
SHEETS = {"reference": "dataset", "queries": "query"}

# Where jobs find the paths of the sheets, in this order, and the addresses of the configuration's models.
SHEETS_VARIABLE, MODELS_VARIABLE = "REFATLAS_SHEETS", "REFATLAS_HUB_MODELS"

# A query's folder has counts.h5ad, and an h5ad of the query's name.
COUNTS_NAME = "counts"

# Words for a switch in a sheet; an empty cell means no.
YES = ("true", "yes", "y", "t", "1", "x")
NO = ("", "false", "no", "n", "f", "0")

Rows = dict[str, dict[str, Any]]


def load_sheets(
    config: dict[str, Any],
    produced: Collection[str] = (),
    fetched: str = "results/fetched",
    datasets: Rows | None = None,
) -> tuple[Rows, Rows]:
    """Return the datasets of the reference and the queries: the rows of both sheets, by name.

    Args:
        config: of `complete_config`.
        produced: files that rules of the workflow write. They need not exist yet.
        fetched: folder of the links to files that are fetched by address.
        datasets: those of an atlas bundle, in place of the sheet of the reference.

    Raises:
        InputError: of `load_sheet`; a name is in both sheets, or that of a file; datasets have different numbers of
            label levels; `tree.update` names a query without labels; or a model needs proteins and
            no dataset has any.
    """
    reference = config["reference"] or "the atlas"
    datasets = datasets or load_sheet(config["reference"], "reference", config, produced, fetched)
    queries = load_sheet(config["queries"], "queries", config, produced, fetched) if config["queries"] else {}
    _check_growth(config, queries)
    _check_tree_updates(config["tree"]["update"], queries, config["queries"] or "queries")
    if shared := [name for name in queries if name in datasets]:
        raise InputError(
            f"{config['queries']}: query {shared[0]!r} has the name of a dataset in {reference}; rename one of them"
        )
    if COUNTS_NAME in queries:
        raise InputError(
            f"{config['queries']}: query {COUNTS_NAME!r} would have two files {COUNTS_NAME}.h5ad in its folder; rename"
            " it"
        )
    if not config["atlas"]:
        # A query that has joined an atlas may name fewer levels: its coarser labels are the atlas' own.
        _check_label_levels(datasets, reference)
    _check_proteins(config, datasets)
    _check_systems(config, datasets, queries)
    _check_peaks(config, {} if config["atlas"] else datasets)
    return datasets, queries


def take_systems(datasets: Rows, queries: Rows) -> dict[str, str]:
    """Return the system of each dataset and query that has one, and take it out of their rows, in place.

    Rows are params of the rules that read files: no file is read again when a system is named.
    """
    rows = {**datasets, **queries}
    return {name: row.pop("system") for name, row in rows.items() if "system" in row}


def take_receptor_tables(datasets: Rows, queries: Rows) -> dict[str, dict[str, str]]:
    """Return the tables of T-cell receptors of each dataset and query that names any, and take them out of their rows.

    Rows are params of the rules that read counts: no file of counts is read again when a table is named.
    """
    rows = {**datasets, **queries}
    return {name: row.pop("airr") for name, row in rows.items() if "airr" in row}


def load_sheet(
    path: str, kind: str, config: dict[str, Any], produced: Collection[str] = (), fetched: str = "results/fetched"
) -> Rows:
    """Return the rows of one sheet by name, with the config's keys where a cell is empty.

    A row with an address has the path of the link to its file, which may not exist yet, and
    `fetched`, of `fetched_key`. No server is asked.

    Args:
        kind: "reference" or "queries".
        produced: files that rules of the workflow write. They need not exist yet.
        fetched: folder of the links to files that are fetched by address.

    Raises:
        InputError: the sheet or a file in it is missing, the sheet of the reference is empty, a
            column is unknown, a name is not allowed or not unique, or an address cannot be read.
    """
    name_column = SHEETS[kind]
    rows: Rows = {}
    for number, row in _read_rows(path, kind, list(load_schema(kind)["properties"])):
        where = f"{path}, line {number}"
        name = row.get(name_column, "")
        require_name(name, f"{where}: {name_column}")
        if name in rows:
            raise InputError(f"{where}: {name_column} {name!r} is in the sheet twice; names must be unique")
        place = f"{where}: {name_column} {name!r}"
        found = _find_file(row, place, produced, fetched)
        if row.get("metadata"):
            _require_local(row["metadata"], f"{place}: metadata")
            _require_file(row["metadata"], f"{place}: metadata", produced, is_counts=False)
        if row.get("protein_names"):
            _require_local(row["protein_names"], f"{place}: protein_names")
            _require_file(row["protein_names"], f"{place}: protein_names", produced, is_counts=False)
            read_protein_names(row["protein_names"], f"{place}: protein_names")
        if row.get("control") and not re.fullmatch(r"[^=]+=[^=]+", row["control"]):
            raise InputError(
                f"{where}: control {row['control']!r} is not of the form COLUMN=VALUE, such as condition=healthy"
            )
        rows[name] = {**found, **_complete_row(row, kind, config), **_reading_options(row, where, config)}
    if not rows and kind == "reference":
        raise InputError(f"{path}: the sheet has no rows; add at least one, with the columns {name_column} and path")
    return rows


def _find_file(row: dict[str, str], place: str, produced: Collection[str], fetched: str) -> dict[str, Any]:
    """Return the path of a row's file, and what is known of one by address or with a checksum."""
    path, sha256 = row.get("path", ""), check_sha256(row.get("sha256", ""), place)
    if is_address(path):
        address = parse_address(path, f"{place}: path")
        key = fetched_key(address, sha256)
        return {"path": f"{fetched}/{key}", "sha256": sha256, "fetched": key}
    if "://" in path:
        raise InputError(
            f"{place}: path {safe_address(path)!r} is an address of a kind that is not read; give one that begins with"
            " https://, http://, s3:// or cellxgene:, or download the file and give its path"
        )
    if sha256 and is_readable_path(path) and not os.path.isfile(path):
        raise InputError(
            f"{place}: sha256 is given, but path {shown(repr(path), 300)} is a folder, or the begin of several names;"
            " only single files have one: leave sha256 empty"
        )
    _require_file(path, f"{place}: path", produced)
    return {"path": path, **({"sha256": sha256} if sha256 else {})}


def fetched_key(address: Address, sha256: str | None) -> str:
    """Return what tells a file by address from others: its content, not where it comes from."""
    return f"{sha256 or address_key(address)}/{address.file}"


def _require_local(path: str, where: str) -> None:
    if is_address(path):
        raise InputError(
            f"{where}: {safe_address(path)!r} is an address; only path may be one: download the table, and give its"
            " path"
        )


def remember_sheets(reference: str | None, queries: str | None) -> None:
    """Let jobs find addresses in these sheets: in a parameter, a password would be shown.

    A workflow may use refatlas as several modules, each with sheets of its own.
    """
    pairs = _remembered()
    if (pair := (reference or "", queries or "")) not in pairs:
        pairs.append(pair)
    os.environ[SHEETS_VARIABLE] = "\n".join(path for pair in pairs for path in pair)


def _remembered() -> list[tuple[str, str]]:
    """Return the sheets of the reference and of the queries of all modules, "" where there is none."""
    paths = os.environ.get(SHEETS_VARIABLE, "").split("\n")
    return list(zip(paths[::2], paths[1::2], strict=False))


def find_address(wanted: str) -> tuple[Address, str, str]:
    """Return the address of a file that is fetched, the place in the sheet or configuration, and which of them.

    The sheets are those of `remember_sheets`, and the models those of REFATLAS_HUB_MODELS; planning sets both.

    Args:
        wanted: of `fetched_key`.

    Raises:
        InputError: neither a sheet nor the configuration has it any more.
    """
    models = json.loads(os.environ.get(MODELS_VARIABLE) or "{}")
    if wanted in models:
        return Address(models[wanted], os.path.basename(wanted)), "config: models", "the config"
    sheets = [(kind, path) for pair in _remembered() for kind, path in zip(SHEETS, pair, strict=True)]
    for kind, path in sheets:
        for number, row in _read_rows(path, kind, list(load_schema(kind)["properties"])) if path else ():
            place = f"{path}, line {number}: {SHEETS[kind]} {row.get(SHEETS[kind], '')!r}"
            if is_address(row.get("path", "")):
                address = parse_address(row["path"], f"{place}: path")
                if fetched_key(address, check_sha256(row.get("sha256", ""), place)) == wanted:
                    return address, place, path
    raise InputError(f"{wanted}: no row of {listed(path for _, path in sheets if path)} names it any more; run again")


def _require_file(path: str, where: str, produced: Collection[str], is_counts: bool = True) -> None:
    """Raise an InputError if a file is not there, or is of counts and of a kind that is not read."""
    require_plain_path(path, where)
    if _is_produced(path, produced):
        return
    if is_readable_path(path):
        if is_counts:
            require_readable(path, where)
        return
    reason = "is neither a file nor a folder" if os.path.exists(path) else "does not exist"
    raise InputError(
        f"{where} {shown(repr(path), 300)} {reason} (from {os.getcwd()}); give an absolute path, or one relative to the"
        " working directory"
    )


def _is_produced(path: str, produced: Collection[str]) -> bool:
    """Return whether a path is a file that a rule writes, or the folder of one."""
    folder = path.rstrip("/")
    return path in produced or any(folder and os.path.dirname(file) == folder for file in produced)


def _read_rows(path: str, kind: str, columns: list[str]) -> list[tuple[int, dict[str, str]]]:
    """Return line number and values by column of all rows but empty ones and comments."""
    if not os.path.isfile(path):
        reason = "is not a file" if os.path.exists(path) else "does not exist"
        raise InputError(
            f"config: {kind}: {path!r} {reason} (from {os.getcwd()}); give a tab-separated file with the columns"
            f" {SHEETS[kind]} and path"
        )
    rows = parse_rows(path)
    if not rows and kind == "queries":
        return []
    header = rows[0][1] if rows else []
    _check_header(header, path, columns)
    for number, row in rows[1:]:
        if any(row[len(header) :]):
            raise InputError(
                f"{path}, line {number}: {len(row)} values for {len(header)} columns; is there a tab in a value?"
            )
    return [(number, dict(zip(header, row, strict=False))) for number, row in rows[1:]]


def parse_rows(path: str) -> list[tuple[int, list[str]]]:
    """Return line number and values of all lines but empty ones and comments."""
    lines = ("\n" if line.startswith("#") else line for line in io.StringIO(read_text(path, path)))
    reader = csv.reader(lines, delimiter="\t", strict=True)
    try:
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: {error}; put values that begin with a quote in quotes, and double the"
            " quotes inside"
        ) from None
    return [(number, row) for number, row in rows if any(row)]


def _check_header(header: list[str], path: str, columns: list[str]) -> None:
    for column in header:
        if column not in columns:
            raise InputError(
                f"{path}: unknown column {shown(repr(column))}{did_you_mean(column, columns)}; known columns:"
                f" {', '.join(columns)} (tab-separated)"
            )
        if header.count(column) > 1:
            raise InputError(f"{path}: column {column!r} is in the sheet twice; columns must be unique")
    for column in columns[:2]:
        if column not in header:
            raise InputError(
                f"{path}: column {column!r} is missing; the sheet has {listed(header)} (columns are separated by tabs)"
            )


def _complete_row(row: dict[str, str], kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return where a file has counts, batches, labels, genes and proteins.

    None or [] stand for "-" in the sheet: the file has none.

    A query's labels are named by its own row alone. `batch_is_default` and `protein_is_default` say
    that a key is the config's and not the row's.
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


def _reading_options(row: dict[str, str], where: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return how a file is read in another way than usual.

    Only what is set is a key: a key that all rows have would change the params of all scans.
    """
    options: dict[str, Any] = {"genome": row["genome"]} if row.get("genome") else {}
    if _is_yes(row.get("round", ""), f"{where}: round"):
        options["round"] = True
    if _wants_listed_cells(row, where):
        options["listed_cells"] = True
    if _wants_peaks(row.get("features", ""), where):
        options["features"] = "peaks"
    if row.get("system"):
        options["system"] = row["system"]
    if row.get("protein_names"):
        options["protein_names"] = row["protein_names"]
    if row.get("species"):
        options["species"] = row["species"]
    if row.get("airr") and config.get("receptors") is not None:
        options["airr"] = parse_tables(row["airr"], where)
    if config["genes"].get("previous_symbols"):
        options["previous_symbols"] = True
    return options


def _is_yes(word: str, where: str) -> bool:
    if word.casefold() not in YES + NO:
        raise InputError(f"{where} is {shown(repr(word))}; write true or false")
    return word.casefold() in YES


def _wants_peaks(word: str, where: str) -> bool:
    if word.casefold() not in ("", "genes", "peaks"):
        raise InputError(f"{where}: features is {shown(repr(word))}; write genes (or nothing), or peaks")
    return word.casefold() == "peaks"


def _wants_listed_cells(row: dict[str, str], where: str) -> bool:
    word = row.get("metadata_cells", "").casefold()
    if word not in ("", "all", "listed"):
        raise InputError(
            f"{where}: metadata_cells is {shown(repr(row['metadata_cells']))}; write all (each cell needs a row in"
            " metadata), or listed (cells without one are left out)"
        )
    if word == "listed" and not row.get("metadata"):
        raise InputError(
            f"{where}: metadata_cells is 'listed', but the row names no metadata; name a table as metadata, or leave"
            " metadata_cells empty"
        )
    return word == "listed"


def _check_label_levels(datasets: Rows, sheet: str) -> None:
    levels = {len(row["label_keys"]) for row in datasets.values() if row["label_keys"]}
    if len(levels) > 1:
        found = "; ".join(f"{name}: {', '.join(row['label_keys']) or 'none'}" for name, row in datasets.items())
        raise InputError(
            f"{sheet}: datasets have different numbers of label columns ({found}); name the same levels for all, finest"
            " first, or '-' for a dataset without labels"
        )


def _check_proteins(config: dict[str, Any], datasets: Rows) -> None:
    models = models_with_proteins(config)
    if models and not any(row["protein_key"] for row in datasets.values()):
        raise InputError(
            f"config: models: {models[0]}: type {config['models'][models[0]]['type']} needs proteins, and no dataset"
            f" in {config['reference']} has any; set protein_key for at least one, or leave the model out"
        )


def _check_peaks(config: dict[str, Any], datasets: Rows) -> None:
    models = [name for name, settings in config["models"].items() if MODEL_TYPES[settings["type"]].needs_peaks]
    if models and (missing := [name for name, row in datasets.items() if row.get("features") != "peaks"]):
        raise InputError(
            f"config: models: {models[0]}: type {config['models'][models[0]]['type']} is of peaks of open chromatin,"
            f" and {listed(missing)} in {config['reference']} is read for its genes; write peaks in the column"
            " features, or leave the model out"
        )


def _check_systems(config: dict[str, Any], datasets: Rows, queries: Rows) -> None:
    """Raise an InputError if a model needs the systems of datasets and queries, and a row lacks one that it can use."""
    models = models_with_systems(config)
    if not models:
        return
    where = f"config: models: {models[0]}: type {config['models'][models[0]]['type']}"
    # An atlas bundle has no sheet of its datasets: its models know their systems.
    reference = {} if config["atlas"] else datasets
    for kind, rows in (("reference", reference), ("queries", queries)):
        if missing := [name for name, row in rows.items() if "system" not in row]:
            raise InputError(
                f"{where} needs the system, such as the species, of each dataset and query, and {listed(missing)} in"
                f" {config[kind]} has none; fill in the column system"
            )
    known = sorted({row["system"] for row in reference.values()})
    if reference and len(known) < 2:
        raise InputError(
            f"{where} brings systems together, and all datasets in {config['reference']} are of {listed(known)}; name"
            " at least two in the column system, or use type scvi"
        )
    for name, row in queries.items():
        if reference and row["system"] not in known:
            raise InputError(
                f"{config['queries']}: query {name!r} is of the system {shown(repr(row['system']))}, and the reference"
                f" has cells of {listed(known)} alone; {where} can map no other: correct the column system, or add a"
                " dataset of it"
            )


def _check_growth(config: dict[str, Any], queries: Rows) -> None:
    grow = config["bundle"]["grow"]
    if grow and not config["atlas"]:
        raise InputError(
            "config: bundle: grow is of an atlas bundle, and the config has a reference; add a dataset to its sheet"
        )
    for name in grow:
        if not queries.get(name, {}).get("label_keys"):
            reason = "names no label_key" if name in queries else "is no query"
            raise InputError(
                f"config: bundle: grow: {name!r} {reason} in {config['queries']}; name a query with the cell column of"
                " its known labels"
            )


def _check_tree_updates(names: list[str], queries: Rows, sheet: str) -> None:
    for name in names:
        if name not in queries:
            raise InputError(f"config: tree: update: {name!r} is not a query of {sheet}; name one of {listed(queries)}")
        if not queries[name]["label_keys"]:
            raise InputError(
                f"config: tree: update: query {name!r} has no labels to extend the tree with; name their column as"
                f" label_key in {sheet}"
            )
