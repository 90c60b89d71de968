"""Settings of normalised and counterfactual expression. Light to import."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from refatlas.errors import InputError, listed, shown
from refatlas.models.registry import MODEL_TYPES

TYPES = [kind for kind, known in MODEL_TYPES.items() if known.decodes]
# Longest part of a batch's name in the name of a folder.
LONGEST = 40


def complete_expression(config: dict[str, Any]) -> None:
    """Check the section `expression` of a complete configuration, in place.

    A section that asks for nothing is removed: the configuration is a param of rules, which must not
    run again because there is a new key.

    Raises:
        InputError: a model is unknown or of another type, or a pair has one batch twice.
    """
    section = config["expression"]
    if not section["normalized"] and not section["counterfactual"]:
        del config["expression"]
        return
    model = section["model"] or config["deliver"]["model"]
    _require_type(model, config["models"], "config: expression: model")
    _require_two_batches(section["counterfactual"])
    config["expression"] = {**section, "model": model}


def _require_type(model: str, models: Mapping[str, Mapping[str, Any]], where: str) -> None:
    able = [name for name, settings in models.items() if settings["type"] in TYPES]
    if model in able:
        return
    found = f"is of type {models[model]['type']}" if model in models else "is not in models"
    raise InputError(f"{where}: {model!r} {found}; name one of type {', '.join(TYPES)} (there are: {listed(able)})")


def _require_two_batches(pairs: list[dict[str, str]]) -> None:
    """Raise an InputError if a pair has one batch twice, or stands twice."""
    where, seen = "config: expression: counterfactual", set()
    for pair in pairs:
        ends = (pair["from"], pair["to"])
        if ends[0] == ends[1]:
            raise InputError(f"{where}: from and to are both {shown(ends[0])!r}; name two batches")
        if ends in seen:
            raise InputError(f"{where}: from {shown(ends[0])!r} to {shown(ends[1])!r} stands twice; leave one out")
        seen.add(ends)


def counterfactual_pairs(
    pairs: list[dict[str, str]], datasets: Collection[str], queries: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Return the pairs by the names of their folders, with the query that the batches belong to, if any.

    Args:
        pairs: of the configuration.
        datasets, queries: names in the sheets. A batch is "NAME:BATCH".

    Returns:
        from, to: names of the batches. from_query, to_query: the query, None for a batch of the reference.

    Raises:
        InputError: a batch is of no dataset and no query, or the batches are of two queries.
    """
    found: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        owners = {f"{end}_query": _owner(pair[end], datasets, queries) for end in ("from", "to")}
        if None not in owners.values() and len(set(owners.values())) == 2:
            raise InputError(
                f"config: expression: counterfactual: from {shown(pair['from'])!r} to {shown(pair['to'])!r}: no model"
                " knows the batches of two queries; name a batch of the reference and one of a query, or two of one"
            )
        found[_folder(pair, found)] = {**pair, **owners}
    return found


def _owner(batch: str, datasets: Collection[str], queries: Collection[str]) -> str | None:
    """Return the query of a batch, None for a dataset."""
    name, separator, _ = batch.partition(":")
    if separator and name in (*datasets, *queries):
        return name if name in queries else None
    raise InputError(
        f"config: expression: counterfactual: {shown(batch)!r} is no batch of a dataset or a query; write NAME:BATCH,"
        f" with the name of one in the sheets: {listed([*datasets, *queries])}"
    )


def _folder(pair: Mapping[str, str], taken: Collection[str]) -> str:
    """Return a folder's name for a pair that no other pair has, of plain characters alone."""
    ends = [re.sub(r"[^A-Za-z0-9.-]+", "_", pair[end]).strip("._")[:LONGEST] or "batch" for end in ("from", "to")]
    name = "_to_".join(ends)
    lowered = {other.lower() for other in taken}
    return next(n for n in (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))) if n.lower() not in lowered)


def require_possible(config: Mapping[str, Any], labelled: bool, atlas: bool) -> None:
    """Raise an InputError if what is asked for needs labels, a model or counts that the run lacks.

    Args:
        config: of the run, after what needs labels was left out.
        labelled: whether the reference has labels. atlas: whether it is an atlas bundle.
    """
    section = config.get("expression")
    if section and section["model"] not in config["models"]:
        raise InputError(
            f"config: expression: model {section['model']!r} is left out, because the reference has no labels; name a"
            " model of type scvi or totalvi"
        )
    if section and section["counterfactual"] and not labelled:
        raise InputError(
            "config: expression: counterfactual: support and errors are given by label, and the reference has no"
            " labels; set label_key, or leave it out"
        )
    if section and section["counterfactual"] and atlas:
        raise InputError(
            "config: expression: counterfactual: an atlas bundle lacks the counts of most cells of the reference; leave"
            " it out, or run it where the atlas was made"
        )


def check_settings(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return the sections `model` and `train` of an scVI like a model, for short trainings on two batches.

    scANVI starts from a scVI, its own or that of init_from; of totalVI and DRVI, whose training is another, only the
    size of the network is taken, and the distribution of counts where scVI has it.

    Args:
        config: with all defaults. model: of the section `expression`.
    """
    settings = config["models"][model]
    if settings.get("init_from"):
        settings = config["models"][settings["init_from"]]
    defaults = {name: setting["default"] for name, setting in _scvi_training().items()}
    given = {"scvi": "train", "scanvi": "pretrain"}.get(settings["type"])
    training = dict(settings[given]) if given else defaults
    most = config["expression"]["check_epochs"]
    training["max_epochs"] = min(training["max_epochs"] or most, most)
    return {"model": _as_scvi(settings["model"]), "train": training}


def _as_scvi(model: dict[str, Any]) -> dict[str, Any]:
    """Return the section `model` of a scVI of the same size; pnb is its nb, in logarithms."""
    known = MODEL_TYPES["scvi"].settings_schema()["model"]
    found = {name: value for name, value in model.items() if name in known}
    allowed = known["gene_likelihood"]["enum"]
    return found | {"gene_likelihood": found["gene_likelihood"] if found["gene_likelihood"] in allowed else "nb"}


def _scvi_training() -> dict[str, dict[str, Any]]:
    return MODEL_TYPES["scvi"].settings_schema()["train"]
