"""The configuration and the two sheets, checked before anything runs. Light: Snakemake imports it at every start."""

import copy
import csv
import difflib
import io
import math
import os
import re
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from refatlas.errors import InputError, listed, shown
from refatlas.models import BASELINE, MODEL_TYPES, settings_schema
from refatlas.newick import read_newick

SCHEMAS = Path(__file__).parents[2] / "schemas"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Names become names of files, with something before and after them.
MAX_NAME = 100
# Other results, columns of labels.csv and rows of transfer.csv have these names.
RESERVED = ("counts", "set", "delivered", "majority")
# Snakemake puts its own values in place of {name} and <name> in a path.
PLACEHOLDER = re.compile(r"[{}<>]")
# What a configuration may hold: YAML's anchors can make a few lines stand for more than a memory holds.
MAX_VALUES, MAX_DEPTH, LARGEST = 100_000, 20, 2**31 - 1
MAX_PARSED = 1000
# The cells that a fold holds out take a query's place under this name.
HELD_OUT = "heldout"
SHEETS = {"reference": "dataset", "queries": "query"}
# 1.0 is no integer here, because it is none in Python.
Validator = extend(
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool))
)


@cache
def _read_schema(name: str) -> dict:
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def load_schema(name: str) -> dict:
    """Return one of the schemas in workflow/schemas; the config's knows the settings of every registered model type."""
    schema = copy.deepcopy(_read_schema(name))
    if name == "config":
        variants = schema["$defs"]["model"]["properties"]
        variants["type"]["enum"] = sorted(MODEL_TYPES)
    return schema


def complete_config(config: dict) -> dict:
    """Return the user's configuration, checked against the schema and with every default filled in.

    Raises:
        InputError: an unknown key (with the key that was probably meant), a wrong type or value, a missing key.
    """
    schema = load_schema("config")
    config = _checked(config, schema, where="config")
    config["models"] = {name: _complete_model(name, spec) for name, spec in config["models"].items()}
    for name, spec in config["models"].items():
        _check_init_from(name, spec, config["models"])
        _check_pretrained(name, spec)
        _check_gpus(name, spec, config["memory"]["from_disk"])
    _check_names(config["models"])
    config["models"].setdefault(BASELINE, _complete_model(BASELINE, {"type": BASELINE}))
    _check_delivery(config)
    _check_folds(config["evaluation"])
    _check_tree(config)
    for pattern in config["genes"]["exclude"]:
        _check_pattern(pattern)
    return config


def _complete_model(name: str, spec: dict) -> dict:
    _require_name(name, "config: models: name")
    if name in RESERVED:
        raise InputError(f"config: models: name {name!r} is taken by another result; rename the model")
    if name == BASELINE and spec.get("type") != BASELINE:
        raise InputError(f"config: models: {BASELINE!r} is the baseline's name and must have type {BASELINE}; rename the model")
    if "gpus" in spec and spec.get("type") in MODEL_TYPES and not MODEL_TYPES[spec["type"]].several_gpus:
        able = listed(kind for kind, known in MODEL_TYPES.items() if known.several_gpus)
        wanted = MODEL_TYPES[spec["type"]].init_from
        start = f", and name one of type {wanted} with several GPUs in init_from" if wanted else ""
        raise InputError(f"config: models: {name}: gpus: type {spec['type']} trains on one GPU; of several, type {able} can make use: leave it out{start}")
    spec = _checked(spec, settings_schema(spec["type"]), where=f"config: models: {name}")
    for setting, path in MODEL_TYPES[spec["type"]].files_in(spec).items():
        where = f"config: models: {name}: {setting.replace('.', ': ')}"
        _require_plain_path(path, where)
        if not os.path.isfile(path):
            raise InputError(f"{where}: no file {path!r} (from {os.getcwd()}); give an absolute path, or one relative to the working directory")
    return spec


def _require_name(name, where: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{where} {shown(repr(name))} is not allowed; use letters, digits, '.', '_' and '-', and begin with a letter or digit")
    if len(name) > MAX_NAME:
        raise InputError(f"{where} {shown(repr(name))} is too long for a part of a file's name; use at most {MAX_NAME} characters")


def _require_plain_path(path: str, where: str) -> None:
    if PLACEHOLDER.search(path):
        raise InputError(f"{where}: {shown(repr(path), 300)} has one of {{ }} < >, in which Snakemake looks for placeholders; rename the file, or give a symbolic link to it")


def _check_names(models: dict) -> None:
    for name in models:
        for source in ("logistic", "classifier", "tree"):
            if name.endswith(f"_{source}") and (base := name.removesuffix(f"_{source}")) in {*models, BASELINE}:
                raise InputError(f"config: models: {name!r} would have the columns of the source {source!r} of model {base!r} in labels.csv; rename one of them")


def _check_init_from(name: str, spec: dict, models: dict) -> None:
    base = spec.get("init_from")
    if base is None:
        return
    wanted = MODEL_TYPES[spec["type"]].init_from
    found = models.get(base, {}).get("type", "no such model")
    if wanted != found:
        raise InputError(f"config: models: {name}: init_from: {base!r} is {found}; need a model of type {wanted}: {listed(m for m, s in models.items() if s['type'] == wanted)}")


def _check_pretrained(name: str, spec: dict) -> None:
    made = spec.get("pretrained")
    if not made:
        return
    where, file = f"config: models: {name}: pretrained", Path(made["path"]) / "model.pt"
    _require_plain_path(made["path"], where)
    if spec.get("init_from"):
        raise InputError(f"{where}: the model starts from init_from {spec['init_from']!r} already; give one of the two")
    if not file.is_file():
        raise InputError(f"{where}: {str(file)!r} does not exist (from {os.getcwd()}); path is the folder that scvi-tools' save wrote")
    if not made["sha256"] and not made["trust"]:
        raise InputError(
            f"{where}: loading a model made elsewhere may run any code: give the sha256 of {file} as its maker published it, or set trust: true if you made it yourself"
        )


def _check_gpus(name: str, spec: dict, from_disk: str) -> None:
    if spec.get("gpus", 1) == 1:
        return
    where = f"config: models: {name}: gpus: {spec['gpus']}"
    if spec.get("pretrained"):
        raise InputError(f"{where}: the model is taken from pretrained, and nothing is trained; leave gpus out")
    if from_disk == "always":
        raise InputError(f"{where}: several GPUs train on counts in memory alone, and memory: from_disk is always; set it to auto or never, or leave gpus out")


def folds(evaluation: dict) -> dict[str, dict]:
    """Return the held-out splits by name: which batches each holds out (named, or the number of the fold), and which label it hides.

    Every hidden label is a split of its own, with the held-out batches of the first fold.
    """
    asked = evaluation["folds"]
    if isinstance(asked, dict):
        found = {f"fold_{name}": {"batches": batches} for name, batches in asked.items()}
    else:
        found = {f"fold_{i + 1}": {"fold": i, "n_folds": asked} for i in range(asked)}
    if not found:
        return {}
    first = next(iter(found.values()))
    hide = evaluation["hide"]
    return found | {f"hide_{i + 1}": {**first, "hide": label} for i, label in enumerate(range(hide) if isinstance(hide, int) else hide)}


def tree_settings(config: dict) -> dict:
    """Return how trees of labels are learned: what of the config's `tree` changes the result, and not which models and queries get one."""
    return {key: value for key, value in config["tree"].items() if key not in ("models", "file", "update")}


def calibrating(splits: dict[str, dict]) -> list[str]:
    """Return the splits that labels are calibrated on: those that hide nothing."""
    return [name for name, split in splits.items() if "hide" not in split]


def delivered_source(config: dict) -> str | None:
    """Return the one source that the user wants delivered ("model:source"), or None for all together."""
    deliver = config["deliver"]
    return None if deliver["source"] == "all" else f"{deliver['model']}:{deliver['source']}"


def shortened(spec: dict, evaluation: dict) -> dict:
    """Return a model's settings with no stage of training longer than the folds' max_epochs."""
    limit = evaluation["max_epochs"]
    if limit is None:
        return spec
    return {key: {**part, "max_epochs": min(part["max_epochs"] or limit, limit)} if isinstance(part, dict) and "max_epochs" in part else part for key, part in spec.items()}


def _check_folds(evaluation: dict) -> None:
    names = [str(name) for name in evaluation["folds"]] if isinstance(evaluation["folds"], dict) else []
    for name in names:
        _require_name(name, "config: evaluation: folds: name")
        if names.count(name) > 1:
            raise InputError(f"config: evaluation: folds: name {name!r} stands twice; names must be unique")
    if evaluation["hide"] and not folds(evaluation):
        raise InputError("config: evaluation: hide needs at least one fold; set folds to 1")


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError(f"config: genes: exclude: {pattern!r} is no regular expression ({error})") from None


def _check_delivery(config: dict) -> None:
    deliver = config["deliver"]
    if deliver["model"] is None:
        deliver["model"] = [name for name in config["models"] if name != BASELINE][-1:] or [BASELINE]
        deliver["model"] = deliver["model"][0]
    if deliver["model"] not in config["models"]:
        raise InputError(f"config: deliver: model {deliver['model']!r} is not in models; it holds {listed(config['models'])}")
    if deliver["source"] == "all" and not folds(config["evaluation"]):
        deliver["source"] = "knn"
    kind = config["models"][deliver["model"]]["type"]
    if deliver["source"] == "classifier" and not MODEL_TYPES[kind].has_classifier:
        raise InputError(f"config: deliver: a model of type {kind} has no classifier; set deliver.source to knn")
    if deliver["source"] == "tree" and deliver["model"] not in config["tree"]["models"]:
        raise InputError(f"config: deliver: {deliver['model']!r} has no tree of labels; add it to tree.models, or set deliver.source to knn")


def _check_tree(config: dict) -> None:
    tree = config["tree"]
    for name in tree["models"]:
        if name not in config["models"]:
            raise InputError(f"config: tree: models: {name!r} is not in models; it holds {listed(config['models'])}")
    if tree["update"] and not tree["models"]:
        raise InputError("config: tree: update needs a tree to update; name at least one of models in tree.models")
    if tree["file"] is None:
        return
    where = f"config: tree: file {tree['file']!r}"
    _require_plain_path(tree["file"], where)
    if not os.path.isfile(tree["file"]):
        raise InputError(f"{where} does not exist (from {os.getcwd()}); give a Newick file, or leave it out to have the tree learned")
    read_newick(_text_of(tree["file"], where), where)


def _checked(value: dict, schema: dict, where: str) -> dict:
    """Return a copy of a mapping with the schema's defaults, or raise an InputError for the first thing wrong in it."""
    value = _with_defaults(value, schema)
    n_values = _count_values(value, where, {})
    if n_values > MAX_VALUES:
        raise InputError(f"{where}: {n_values:,} values, with what its anchors (&, *) repeat; no configuration needs more than {MAX_VALUES:,}")
    errors = sorted(Validator(schema).iter_errors(value), key=lambda e: [str(p) for p in e.absolute_path])
    if errors:
        raise InputError(_message(errors[0], where))
    return value


def _count_values(value, where: str, counted: dict[int, int], depth: int = 0) -> int:
    """Return how many values a nested value holds, with repetitions, but looking at each once.

    Args:
        counted: of the lists and mappings that were looked at.

    Raises:
        InputError: it is nested too deep (for ever, if it holds itself), or a number or a text is none that a setting can have.
    """
    if not isinstance(value, dict | list):
        _require_plain_value(value, where)
        return 1
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: nested more than {MAX_DEPTH} levels deep, as no setting is")
    if id(value) not in counted:
        for key in value if isinstance(value, dict) else ():
            _require_plain_value(key, where)
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        counted[id(value)] = 1 + sum(_count_values(part, f"{where}: {shown(key)}" if isinstance(key, str) else where, counted, depth + 1) for key, part in parts)
    return counted[id(value)]


def _require_plain_value(value, where: str) -> None:
    if isinstance(value, int) and abs(value) > LARGEST:
        raise InputError(f"{where}: a number of {value.bit_length()} bits; numbers may be at most {LARGEST:,}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {value} is not a finite number")
    if isinstance(value, str) and ("\0" in value or not _is_encodable(value)):
        raise InputError(f"{where}: {shown(repr(value))} has characters that no file can hold (NUL, or half of a surrogate pair)")


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _with_defaults(value, schema: dict):
    if isinstance(value, str) and "string" not in _types(schema):
        return _parsed(value)
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for key, part in schema.get("properties", {}).items():
        if key not in filled and "default" in part:
            filled[key] = part["default"]
        if key in filled:
            filled[key] = _with_defaults(filled[key], part)
    return filled


def _parsed(value: str):
    """Return what a string means as YAML: nested values of --config come as strings. Long ones are not looked at: YAML takes minutes for some."""
    if len(value) > MAX_PARSED:
        return value
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return value


def _types(schema: dict) -> set[str]:
    """Return the types that a value may have; "string" for a choice of words or where nothing is said."""
    if "anyOf" in schema:
        return set().union(*(_types(part) for part in schema["anyOf"]))
    found = schema.get("type", "string")
    return {found} if isinstance(found, str) else set(found)


def _message(error, where: str) -> str:
    place = ": ".join([where, *map(str, error.absolute_path)])
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        return f"{place}: unknown key {shown(repr(unknown[0]))}{_meant(unknown[0], known)}; known keys: {', '.join(known)}"
    if error.validator == "enum":
        return f"{place}: {shown(repr(error.instance))} is none of {listed(error.validator_value, 20)}{_meant(error.instance, error.validator_value)}"
    if error.validator == "type":
        return f"{place}: {shown(repr(error.instance))} is of the wrong type; expected {error.validator_value}"
    return f"{place}: {shown(error.message, 300)}" + (f" ({error.schema['description']})" if "description" in error.schema else "")


def _meant(word, known) -> str:
    near = difflib.get_close_matches(str(word)[:MAX_NAME], [str(k) for k in known], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def load_sheet(path: str, kind: str, config: dict, made: tuple[str, ...] = ()) -> dict[str, dict]:
    """Return the rows of a sheet by name, with the config's keys where a row names none.

    Args:
        kind: "reference" or "queries".
        made: paths that the workflow itself writes, and that therefore need not exist yet.

    Raises:
        InputError: the sheet or a file in it is missing, the sheet is empty, has an unknown column, or a name twice or not allowed.
    """
    name_column = SHEETS[kind]
    columns = list(load_schema(kind)["properties"])
    taken = {HELD_OUT, *folds(config["evaluation"])} if kind == "queries" else set()
    rows = {}
    for number, row in _read_rows(path, kind, columns):
        where = f"{path}, line {number}"
        name = row.get(name_column, "")
        _require_name(name, f"{where}: {name_column}")
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
        raise InputError(f"{path}: the sheet has no row; give one a {name_column}, with the columns {name_column} and path")
    return rows


def _require_file(path: str, where: str, made: tuple[str, ...]) -> None:
    _require_plain_path(path, where)
    if os.path.isfile(path) or os.path.isdir(path) or _is_made(path, made):
        return
    reason = "is neither a file nor a folder" if os.path.exists(path) else "does not exist"
    raise InputError(f"{where} {shown(repr(path), 300)} {reason} (from {os.getcwd()}); give an absolute path, or one relative to the working directory")


def _is_made(path: str, made: tuple[str, ...]) -> bool:
    return any(file == path or os.path.dirname(file) == path.rstrip("/") for file in made)


def _text_of(path: str, where: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte {error.start} is no text in UTF-8; save the file as plain text in UTF-8") from None
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    if "\0" in text:
        raise InputError(f"{where}: has NUL characters; save the file as plain text in UTF-8")
    return text


def _read_rows(path: str, kind: str, columns: list[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the line and the values by column of each row that is neither empty nor a comment."""
    if not os.path.isfile(path):
        reason = "is no file" if os.path.exists(path) else "does not exist"
        raise InputError(f"config: {kind}: {path!r} {reason} (from {os.getcwd()}); give a tab-separated file with the columns {SHEETS[kind]} and path")
    reader = csv.reader(("\n" if line.startswith("#") else line for line in io.StringIO(_text_of(path, path))), delimiter="\t", strict=True)
    try:
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; put values that begin with a quote in quotes, and double the quotes in them") from None
    rows = [(number, row) for number, row in rows if any(row)]
    header = rows[0][1] if rows else []
    _check_header(header, path, columns)
    for number, row in rows[1:]:
        if any(row[len(header) :]):
            raise InputError(f"{path}, line {number}: {len(row)} values for {len(header)} columns; is there a tab within a value?")
    return [(number, dict(zip(header, row, strict=False))) for number, row in rows[1:]]


def _check_header(header: list[str], path: str, columns: list[str]) -> None:
    for column in header:
        if column not in columns:
            raise InputError(f"{path}: unknown column {shown(repr(column))}{_meant(column, columns)}; known columns: {', '.join(columns)} (tab-separated)")
        if header.count(column) > 1:
            raise InputError(f"{path}: column {column!r} stands twice; columns must be unique")
    for column in columns[:2]:
        if column not in header:
            raise InputError(f"{path}: column {column!r} is missing; the sheet has {listed(header)} (columns are separated by tabs)")


def _keys(row: dict, kind: str, config: dict) -> dict:
    """Return where a row's counts, batches, labels, genes and proteins stand; `-` says that the file has none.

    A query's label column comes from its own row alone; `batch_is_default` and `protein_is_default` tell an explicit key from the config's.
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
    """Return the rows of the reference's and the queries' sheet, whose names must differ from each other.

    Raises:
        InputError: as `load_sheet`; also for a name in both sheets, and for datasets whose rows name different numbers of label levels,
            and for a model that needs proteins where no dataset has any.
    """
    datasets = load_sheet(config["reference"], "reference", config, made)
    queries = load_sheet(config["queries"], "queries", config, made)
    _check_updates(config["tree"]["update"], queries, config["queries"])
    _check_figures(config["models"], queries, config["queries"])
    both = [name for name in queries if name in datasets]
    if both:
        raise InputError(f"{config['queries']}: query {both[0]!r} has the name of a dataset in {config['reference']}; rename one of them")
    levels = {len(row["label_keys"]) for row in datasets.values() if row["label_keys"]}
    if not levels:
        raise InputError(f"{config['reference']}: no dataset names labels, and a query's labels come from the reference; set label_key for at least one")
    if len(levels) != 1:
        found = "; ".join(f"{name}: {', '.join(row['label_keys']) or 'none'}" for name, row in datasets.items())
        raise InputError(
            f"{config['reference']}: datasets name different numbers of label columns ({found}); name the same levels, finest first, or '-' for a dataset without labels"
        )
    needing = models_with_proteins(config)
    if needing and not any(row["protein_key"] for row in datasets.values()):
        raise InputError(
            f"config: models: {needing[0]}: type {config['models'][needing[0]]['type']} needs proteins, and no dataset in {config['reference']} names any; set protein_key for at least one, or leave the model out"
        )
    return datasets, queries


def _check_updates(names: list[str], queries: dict[str, dict], sheet: str) -> None:
    for name in names:
        if name not in queries:
            raise InputError(f"config: tree: update: {name!r} is no query of {sheet}; it holds {listed(queries)}")
        if not queries[name]["label_keys"]:
            raise InputError(f"config: tree: update: query {name!r} has no labels to extend the tree with; name its column as label_key in {sheet}")


def _check_figures(models: dict, queries: dict[str, dict], sheet: str) -> None:
    drawn = {f"{model}_{figure}": model for model in models for figure in ("training", "umap")}
    for query in queries:
        if model := drawn.get(f"query_{query}"):
            raise InputError(f"{sheet}: the figure of query {query!r} would have the name of one of model {model!r}; rename one of them")


def models_with_proteins(config: dict) -> list[str]:
    """Return the names of the models whose type needs proteins in the reference."""
    return [name for name, spec in config["models"].items() if MODEL_TYPES[spec["type"]].needs_proteins]


def check_writable(folder: str) -> None:
    """Raise an InputError if results cannot be written to a folder, whether it exists already or not."""
    place = Path(folder).resolve()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"results folder {folder!r}: {place} is a file; choose another working directory or results path")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"results folder {folder!r}: no permission to write in {place}; choose another working directory or results path")
