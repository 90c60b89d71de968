"""The configuration, checked before anything runs. Light: Snakemake imports it at every start."""

import os
import re
from pathlib import Path

from refatlas.config.folds import check_folds, folds
from refatlas.config.schema_files import load_schema
from refatlas.config.validation import checked, read_text, require_name, require_plain_path
from refatlas.errors import InputError, listed
from refatlas.models.registry import BASELINE, MODEL_TYPES, settings_schema
from refatlas.transfer.newick import read_newick

# Other results, columns of labels.csv and rows of transfer.csv have these names.
RESERVED = ("counts", "set", "delivered", "majority")


def complete_config(config: dict) -> dict:
    """Return the user's configuration, checked against the schema and with every default filled in.

    Raises:
        InputError: an unknown key (with the key that was probably meant), a wrong type or value, a
            missing key.
    """
    schema = load_schema("config")
    config = checked(config, schema, where="config")
    config["models"] = {name: _complete_model(name, spec) for name, spec in config["models"].items()}
    for name, spec in config["models"].items():
        _check_init_from(name, spec, config["models"])
        _check_pretrained(name, spec)
        _check_gpus(name, spec, config["memory"]["from_disk"])
    _check_names(config["models"])
    config["models"].setdefault(BASELINE, _complete_model(BASELINE, {"type": BASELINE}))
    _check_delivery(config)
    check_folds(config["evaluation"])
    _check_tree(config)
    for pattern in config["genes"]["exclude"]:
        _check_pattern(pattern)
    return config


def _complete_model(name: str, spec: dict) -> dict:
    require_name(name, "config: models: name")
    if name in RESERVED:
        raise InputError(f"config: models: name {name!r} is taken by another result; rename the model")
    if name == BASELINE and spec.get("type") != BASELINE:
        raise InputError(
            f"config: models: {BASELINE!r} is the baseline's name and must have type {BASELINE}; rename the model"
        )
    if "gpus" in spec and spec.get("type") in MODEL_TYPES and not MODEL_TYPES[spec["type"]].multi_gpu:
        able = listed(kind for kind, known in MODEL_TYPES.items() if known.multi_gpu)
        wanted = MODEL_TYPES[spec["type"]].init_from
        start = f", and name one of type {wanted} with several GPUs in init_from" if wanted else ""
        raise InputError(
            f"config: models: {name}: gpus: type {spec['type']} trains on one GPU; of several, type {able} can make"
            f" use: leave it out{start}"
        )
    spec = checked(spec, settings_schema(spec["type"]), where=f"config: models: {name}")
    for setting, path in MODEL_TYPES[spec["type"]].files_in(spec).items():
        where = f"config: models: {name}: {setting.replace('.', ': ')}"
        require_plain_path(path, where)
        if not os.path.isfile(path):
            raise InputError(
                f"{where}: no file {path!r} (from {os.getcwd()}); give an absolute path, or one relative to the working"
                " directory"
            )
    return spec


def _check_names(models: dict) -> None:
    for name in models:
        for source in ("logistic", "classifier", "tree"):
            if name.endswith(f"_{source}") and (base := name.removesuffix(f"_{source}")) in {*models, BASELINE}:
                raise InputError(
                    f"config: models: {name!r} would have the columns of the source {source!r} of model {base!r} in"
                    " labels.csv; rename one of them"
                )


def _check_init_from(name: str, spec: dict, models: dict) -> None:
    base = spec.get("init_from")
    if base is None:
        return
    wanted = MODEL_TYPES[spec["type"]].init_from
    found = models.get(base, {}).get("type", "no such model")
    if wanted != found:
        raise InputError(
            f"config: models: {name}: init_from: {base!r} is {found}; need a model of type {wanted}:"
            f" {listed(m for m, s in models.items() if s['type'] == wanted)}"
        )


def _check_pretrained(name: str, spec: dict) -> None:
    made = spec.get("pretrained")
    if not made:
        return
    where, file = f"config: models: {name}: pretrained", Path(made["path"]) / "model.pt"
    require_plain_path(made["path"], where)
    if spec.get("init_from"):
        raise InputError(f"{where}: the model starts from init_from {spec['init_from']!r} already; give one of the two")
    if not file.is_file():
        raise InputError(
            f"{where}: {str(file)!r} does not exist (from {os.getcwd()}); path is the folder that scvi-tools' save"
            " wrote"
        )
    if not made["sha256"] and not made["trust"]:
        raise InputError(
            f"{where}: loading a model made elsewhere may run any code: give the sha256 of {file} as its maker"
            " published it, or set trust: true if you made it yourself"
        )


def _check_gpus(name: str, spec: dict, from_disk: str) -> None:
    if spec.get("gpus", 1) == 1:
        return
    where = f"config: models: {name}: gpus: {spec['gpus']}"
    if spec.get("pretrained"):
        raise InputError(f"{where}: the model is taken from pretrained, and nothing is trained; leave gpus out")
    if from_disk == "always":
        raise InputError(
            f"{where}: several GPUs train on counts in memory alone, and memory: from_disk is always; set it to auto or"
            " never, or leave gpus out"
        )


def tree_settings(config: dict) -> dict:
    """Return how trees of labels are learned: what of the config's `tree` changes the result, and
    not which models and queries get one.
    """
    return {key: value for key, value in config["tree"].items() if key not in ("models", "file", "update")}


def delivered_source(config: dict) -> str | None:
    """Return the one source that the user wants delivered ("model:source"), or None for all
    together.
    """
    deliver = config["deliver"]
    return None if deliver["source"] == "all" else f"{deliver['model']}:{deliver['source']}"


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
        raise InputError(
            f"config: deliver: model {deliver['model']!r} is not in models; it holds {listed(config['models'])}"
        )
    if deliver["source"] == "all" and not folds(config["evaluation"]):
        deliver["source"] = "knn"
    kind = config["models"][deliver["model"]]["type"]
    if deliver["source"] == "classifier" and not MODEL_TYPES[kind].has_classifier:
        raise InputError(f"config: deliver: a model of type {kind} has no classifier; set deliver.source to knn")
    if deliver["source"] == "tree" and deliver["model"] not in config["tree"]["models"]:
        raise InputError(
            f"config: deliver: {deliver['model']!r} has no tree of labels; add it to tree.models, or set deliver.source"
            " to knn"
        )


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
    require_plain_path(tree["file"], where)
    if not os.path.isfile(tree["file"]):
        raise InputError(
            f"{where} does not exist (from {os.getcwd()}); give a Newick file, or leave it out to have the tree learned"
        )
    read_newick(read_text(tree["file"], where), where)


def models_with_proteins(config: dict) -> list[str]:
    """Return the names of the models whose type needs proteins in the reference."""
    return [name for name, spec in config["models"].items() if MODEL_TYPES[spec["type"]].needs_proteins]


def check_writable(folder: str) -> None:
    """Raise an InputError if results cannot be written to a folder, whether it exists already or
    not.
    """
    place = Path(folder).resolve()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(
            f"results folder {folder!r}: {place} is a file; choose another working directory or results path"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(
            f"results folder {folder!r}: no permission to write in {place}; choose another working directory or results"
            " path"
        )
