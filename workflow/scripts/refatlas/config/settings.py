"""The configuration, checked before anything runs. Light: Snakemake imports it at every start."""

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from refatlas.config.atlas import atlas_setting
from refatlas.config.contrasts import complete_contrasts, require_density, require_features
from refatlas.config.criticism import complete_criticism
from refatlas.config.expression import complete_expression
from refatlas.config.external_labels import complete_external_labels
from refatlas.config.folds import folds, require_valid_folds
from refatlas.config.model_markers import complete_markers
from refatlas.config.receptors import complete_receptors
from refatlas.config.schema_files import load_schema
from refatlas.config.spatial import complete_spatial
from refatlas.config.species import complete_species
from refatlas.config.tuning import complete_tuning
from refatlas.config.validation import read_text, require_name, require_plain_path, validate
from refatlas.config.variants import expand_variants
from refatlas.errors import InputError, listed
from refatlas.models.registry import BASELINE, MODEL_TYPES, settings_schema, whole_models
from refatlas.models.scarches_settings import SAVED
from refatlas.transfer.newick import read_newick

# A model named "set" would have the column set_label of labels.csv; the others are models in
# transfer.csv.
RESERVED = ("set", "delivered", "majority")
# Sources of labels beside kNN: in labels.csv, their columns begin with the model's name and theirs.
SOURCES = ("logistic", "classifier", "tree")
# In h5ad files, a UMAP is X_umap or X_umap_MODEL, and a latent space X_MODEL.
UMAP = "umap"
# Name of the matched baseline (transfer.evidence has the same, and imports what planning does not need).
MATCHED = "matched"


def complete_config(config: dict[str, Any], produced: Collection[str] = ()) -> dict[str, Any]:
    """Return the user's configuration, validated and with all defaults filled in.

    Args:
        produced: files of pretrained models that rules of the workflow fetch. They need not exist yet.

    Raises:
        InputError: an unknown key (the message suggests the key that was probably meant), a value
            of a wrong type or out of range, a missing key, a missing file, or settings that
            contradict each other.
    """
    config = validate(config, load_schema("config"), where="config")
    _check_start(config)
    config["models"] = expand_variants(config["models"])
    config["models"] = {name: _complete_model(name, settings) for name, settings in config["models"].items()}
    for name, settings in config["models"].items():
        _check_init_from(name, settings, config["models"])
        _check_pretrained(name, settings, produced)
        _check_gpus(name, settings, config["memory"]["from_disk"])
    _check_model_names(config["models"])
    complete_receptors(config)
    config["models"].setdefault(BASELINE, _complete_model(BASELINE, {"type": BASELINE}))
    config["deliver"] = _complete_delivery(config)
    require_valid_folds(config["evaluation"])
    _check_tree(config)
    for pattern in config["genes"]["exclude"]:
        _check_pattern(pattern)
    if not config["genes"]["previous_symbols"]:
        # The setting is a param of rules: one that is off must not make them run again after an upgrade.
        del config["genes"]["previous_symbols"]
    _check_annotating(config)
    # The whole configuration is a param of rules, so a section that asks for nothing is left out.
    complete_species(config)
    _complete_differential(config)
    complete_external_labels(config, _taken_names(config["models"]))
    complete_expression(config)
    complete_spatial(config)
    return complete_tuning(complete_criticism(config))


def _complete_differential(config: dict[str, Any]) -> None:
    """Check the section `differential` of a complete configuration, in place; without content it is removed."""
    section = complete_markers(config["differential"], config)
    config["differential"] = complete_contrasts(section) if section["contrasts"] else section
    require_features(config["differential"], config["models"])
    require_density(config["differential"], config["models"])
    if not section["contrasts"] and "markers" not in section:
        del config["differential"]


def _check_start(config: dict[str, Any]) -> None:
    """Raise an InputError unless there is either a reference or an atlas; complete the setting of the atlas."""
    if (config["reference"] is None) == (config["atlas"] is None):
        found = "both are set" if config["reference"] else "neither is set"
        raise InputError(
            f"config: reference or atlas: {found}; give reference, the sheet of the datasets to build an atlas from, or"
            " atlas, the path of a bundle to map queries onto"
        )
    config["atlas"] = config["atlas"] and atlas_setting(config["atlas"])


def _complete_model(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return a model's settings, validated and with the defaults of its type."""
    where = f"config: models: {name}"
    require_name(name, "config: models: name")
    if name in RESERVED:
        raise InputError(f"config: models: name {name!r} is reserved; rename the model")
    if name == BASELINE and settings.get("type") != BASELINE:
        raise InputError(
            f"config: models: {BASELINE!r} is the baseline's name and must have type {BASELINE}; rename the model"
        )
    if "gpus" in settings:
        _require_multi_gpu_type(settings["type"], where)
    settings = validate(settings, settings_schema(settings["type"]), where=where)
    for setting, path in MODEL_TYPES[settings["type"]].files_in(settings).items():
        _require_settings_file(path, f"{where}: {setting.replace('.', ': ')}")
    return settings


def _require_multi_gpu_type(kind: str, where: str) -> None:
    if MODEL_TYPES[kind].multi_gpu:
        return
    base = MODEL_TYPES[kind].init_from
    remedy = f", and train the model of type {base} that init_from names on several GPUs" if base else ""
    raise InputError(
        f"{where}: gpus: type {kind} trains on one GPU; several GPUs can be used by type"
        f" {listed(name for name, known in MODEL_TYPES.items() if known.multi_gpu)}; leave gpus out{remedy}"
    )


def _require_settings_file(path: str, where: str) -> None:
    require_plain_path(path, where)
    if not os.path.isfile(path):
        raise InputError(
            f"{where}: no file {path!r} (from {os.getcwd()}); give an absolute path, or one relative to the working"
            " directory"
        )


def _check_model_names(models: dict[str, dict[str, Any]]) -> None:
    """Raise an InputError if two models, or a model and the matched baseline, would have sources of the same name."""
    if MATCHED in models:
        raise InputError(
            f"config: models: {MATCHED!r} is the name of the baseline that is fitted to the reference as a query"
            " measured it; rename the model"
        )
    for name in models:
        if name == UMAP or (name.startswith(f"{UMAP}_") and name.removeprefix(f"{UMAP}_") in {*models, BASELINE}):
            raise InputError(
                f"config: models: the latent space of {name!r} would have the name of a UMAP in h5ad files, X_{name};"
                " rename the model"
            )
        for source in SOURCES:
            if name.endswith(f"_{source}") and (base := name.removesuffix(f"_{source}")) in {*models, BASELINE}:
                raise InputError(
                    f"config: models: the columns of {name!r} in labels.csv would have the names of those of model"
                    f" {base!r}, source {source!r}; rename one of the models"
                )


def _taken_names(models: dict[str, dict[str, Any]]) -> set[str]:
    """Return the names that no further source of labels can have, as its columns in labels.csv begin with its name."""
    return {*RESERVED, MATCHED, *models, *(f"{model}_{source}" for model in models for source in SOURCES)}


def _check_init_from(name: str, settings: dict[str, Any], models: dict[str, dict[str, Any]]) -> None:
    base = settings.get("init_from")
    if base is None:
        return
    wanted = MODEL_TYPES[settings["type"]].init_from
    found = f"of type {models[base]['type']}" if base in models else "not in models"
    if base not in models or models[base]["type"] != wanted:
        candidates = listed(model for model, known in models.items() if known["type"] == wanted)
        raise InputError(
            f"config: models: {name}: init_from: {base!r} is {found}; name a model of type {wanted}"
            f" (there are: {candidates})"
        )


def _check_pretrained(name: str, settings: dict[str, Any], produced: Collection[str]) -> None:
    pretrained = settings.get("pretrained")
    if not pretrained:
        return
    where = f"config: models: {name}: pretrained"
    if MODEL_TYPES[settings["type"]].saved_by == "scArches":
        _check_saved_by_scarches(settings, where)
        return
    if not pretrained.get("path"):
        raise InputError(f"{where}: neither path nor hub is set; give the folder of its model.pt, or a repository")
    file = Path(pretrained["path"]) / "model.pt"
    require_plain_path(pretrained["path"], where)
    if settings.get("init_from"):
        raise InputError(
            f"{where}: the model starts from init_from {settings['init_from']!r} already; set only one of the two"
        )
    if file not in map(Path, produced) and not file.is_file():
        older = (file.parent / "attr.pkl").is_file()
        raise InputError(
            f"{where}: {str(file)!r} does not exist (from {os.getcwd()}); path is the folder that scvi-tools' save()"
            " wrote"
            + "; this folder was saved by scArches (types trvae, scpoli and expimap), or by scvi-tools before 0.15,"
            " whose convert_legacy_save converts it" * older
        )
    if not pretrained["sha256"] and not pretrained["trust"]:
        raise InputError(
            f"{where}: loading a model file can run any code that it contains: give the SHA-256 of {file} that its"
            " author has published, or set trust: true if you saved it yourself"
        )


def _check_saved_by_scarches(settings: dict[str, Any], where: str) -> None:
    kind, pretrained = settings["type"], settings["pretrained"]
    if not pretrained.get("path"):
        raise InputError(f"{where}: path is not set; give the folder that scArches' save() wrote")
    folder = pretrained["path"]
    require_plain_path(folder, where)
    lacking = [Path(file).name for file in MODEL_TYPES[kind].saved_files(folder) if not Path(file).is_file()]
    if lacking:
        by_scvi_tools = (Path(folder) / "model.pt").is_file()
        raise InputError(
            f"{where}: {folder!r} has no {listed(lacking)} (from {os.getcwd()}); path is the folder that scArches'"
            " save() wrote"
            + "; this one was saved by scvi-tools, as its classes in scArches do: use type scvi, scanvi or totalvi"
            * by_scvi_tools
        )
    if settings.get("model", {}).get("gmt"):
        raise InputError(
            f"{where}: the model has its own programs, and model: gmt is {settings['model']['gmt']!r}; leave gmt out"
        )
    if not pretrained["sha256"] and not pretrained["trust"]:
        raise InputError(
            f"{where}: it is not said which model this is: give as sha256 what its author has published, of `cd"
            f" {folder} && sha256sum {' '.join(SAVED)} | sha256sum`, or set trust: true if you saved it yourself"
        )


def _check_gpus(name: str, settings: dict[str, Any], from_disk: str) -> None:
    if settings.get("gpus", 1) == 1:
        return
    where = f"config: models: {name}: gpus: {settings['gpus']}"
    if settings.get("pretrained"):
        raise InputError(f"{where}: the model is pretrained, and nothing is trained; leave gpus out")
    if from_disk == "always":
        raise InputError(
            f"{where}: training on several GPUs needs the counts in memory, and memory: from_disk is always; set it to"
            " auto or never, or leave gpus out"
        )


def tree_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `tree` that change how a tree of labels is learned.

    These are all but `models`, `file` and `update`.
    """
    return {key: value for key, value in config["tree"].items() if key not in ("models", "file", "update")}


def delivered_source(config: dict[str, Any]) -> str | None:
    """Return the one source that is delivered, as "model:source"; "matched" for the matched baseline, None for all."""
    deliver = config["deliver"]
    if deliver["source"] == MATCHED:
        return MATCHED
    return None if deliver["source"] == "all" else f"{deliver['model']}:{deliver['source']}"


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"config: genes: exclude: {pattern!r} is not a valid regular expression ({error}); correct it, or write"
            " special characters with a backslash"
        ) from None


def _complete_delivery(config: dict[str, Any]) -> dict[str, Any]:
    """Return `deliver` with its model, and with a source that exists without folds."""
    deliver = dict(config["deliver"])
    if deliver["model"] is None:
        deliver["model"] = ([name for name in whole_models(config["models"]) if name != BASELINE] or [BASELINE])[-1]
    _require_whole_model(deliver["model"], config["models"], "config: deliver: model")
    if deliver["source"] == "all" and not folds(config["evaluation"]):
        deliver["source"] = MATCHED
    kind = config["models"][deliver["model"]]["type"]
    if deliver["source"] == "classifier" and not MODEL_TYPES[kind].has_classifier:
        raise InputError(f"config: deliver: a model of type {kind} has no classifier; set deliver.source to knn")
    if deliver["source"] == "tree" and deliver["model"] not in config["tree"]["models"]:
        raise InputError(
            f"config: deliver: model {deliver['model']!r} has no tree of labels; add it to tree.models, or set"
            " deliver.source to knn"
        )
    return deliver


def _require_whole_model(name: str, models: dict[str, dict[str, Any]], where: str) -> None:
    """Raise an InputError unless a model exists and has a place for each cell."""
    able = whole_models(models)
    if name not in able:
        found = "places only cells with paired T-cell receptors" if name in models else "is not in models"
        raise InputError(f"{where} {name!r} {found}; name one of {listed(able)}")


def _check_tree(config: dict[str, Any]) -> None:
    tree = config["tree"]
    for name in tree["models"]:
        _require_whole_model(name, config["models"], "config: tree: models:")
    if tree["update"] and not tree["models"]:
        raise InputError("config: tree: update needs a tree to update; name at least one model in tree.models")
    if tree["file"] is None:
        return
    where = f"config: tree: file {tree['file']!r}"
    require_plain_path(tree["file"], where)
    if not os.path.isfile(tree["file"]):
        raise InputError(
            f"{where} does not exist (from {os.getcwd()}); give a file in Newick notation, or leave it out to have the"
            " tree learned"
        )
    read_newick(read_text(tree["file"], where), where)


def _check_annotating(config: dict[str, Any]) -> None:
    """Check the files that annotation is made from, and bring the resolutions of the clusters in order."""
    clusters = config["clusters"]
    config["clusters"] = {**clusters, "resolutions": sorted(clusters["resolutions"])}
    if config["annotation"] and not clusters["resolutions"]:
        raise InputError(
            "config: annotation names clusters, and clusters.resolutions is empty; list the resolutions that it names"
        )
    files = {f"suggestions: labels: {name}": path for name, path in config["suggestions"]["labels"].items()}
    files |= {"exclude": config["exclude"], "suggestions: markers": config["suggestions"]["markers"]}
    for where, path in files.items():
        if path is not None:
            _require_settings_file(path, f"config: {where}")
    for name in config["suggestions"]["labels"]:
        require_name(name, "config: suggestions: labels: name")
        if name == "markers":
            raise InputError(
                "config: suggestions: labels: name 'markers' is that of another kind of evidence; rename it"
            )


def models_with_proteins(config: dict[str, Any]) -> list[str]:
    """Return the names of the models whose type needs proteins in the reference."""
    return [name for name, settings in config["models"].items() if MODEL_TYPES[settings["type"]].needs_proteins]


def models_with_systems(config: dict[str, Any]) -> list[str]:
    """Return the names of the models whose type needs the systems of datasets and queries."""
    return [name for name, settings in config["models"].items() if MODEL_TYPES[settings["type"]].needs_systems]


def check_writable(folder: str) -> None:
    """Raise an InputError if a folder that may not exist yet cannot be made or written to."""
    place = Path(folder).resolve()
    while not place.exists():
        place = place.parent
    remedy = "choose another working directory, or another folder in the config's pathvars"
    if not place.is_dir():
        raise InputError(f"folder {folder!r}: {place} is a file; {remedy}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"folder {folder!r}: no permission to write in {place}; {remedy}")


def require_outside(path: str | None, folder: str, where: str) -> None:
    """Raise an InputError if a file that people write is in the folder of the results, where a run replaces it.

    Args:
        path: None if the config names none.
        folder: of the results.
        where: the config's key, for the message.
    """
    if path is not None and Path(path).resolve().is_relative_to(Path(folder).resolve()):
        raise InputError(
            f"{where}: {path!r} is in the folder of the results, where a run replaces it; copy it to another place, and"
            " name the copy"
        )
