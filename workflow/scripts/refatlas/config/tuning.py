"""The settings of tuning, checked before anything runs. Light: Snakemake imports it at every start."""

import contextlib
import math
from typing import Any

from refatlas.config.folds import calibration_folds, folds
from refatlas.config.schema_files import load_schema
from refatlas.config.validation import did_you_mean, validate
from refatlas.errors import InputError, listed, shown
from refatlas.models.registry import BASELINE, MODEL_TYPES, settings_schema
from refatlas.models.search_space import Space, n_points, with_chosen

# The split that trials are made on, beside the folds of the evaluation: their names begin with fold_ or hide_.
SPLIT = "tuning"
# Not settings of a training: a trial of surgery would change how queries are mapped onto one and the same model.
NOT_TUNED = ("surgery", "outputs")
# "integer" is ours: a bundle keeps completed settings.
RANGE = {"low", "high", "log", "integer"}


def complete_tuning(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the tuning of each model validated and completed, or without `tune` if there is none.

    The whole configuration is a param of rules: a section that is off must not make them run again after an upgrade.

    Args:
        config: with all defaults, and its models completed.

    Raises:
        InputError: a model cannot be tuned, there is nothing to judge trials by, or the model would refuse a setting.
    """
    kept = {key: value for key, value in config.items() if key != "tune"}
    if not config["tune"]:
        return kept
    _require_two_folds(config["evaluation"])
    return {**kept, "tune": {name: _complete(name, entry, config) for name, entry in config["tune"].items()}}


def tuning_folds(evaluation: dict[str, Any]) -> tuple[str, str]:
    """Return the names of the fold whose batches settings are chosen on, and of the one whose batches take no part."""
    names = calibration_folds(folds(evaluation))
    return names[0], names[-1]


def tuning_split(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return the split that trials are made on: the first fold, without the batches that the last one holds out."""
    first, last = (folds(evaluation)[name] for name in tuning_folds(evaluation))
    return {**first, "set_aside": last}


def _require_two_folds(evaluation: dict[str, Any]) -> None:
    names = calibration_folds(folds(evaluation))
    if len(names) < 2:
        raise InputError(
            f"config: tune: settings are chosen on one fold's batches, and judged on those of another; evaluation.folds"
            f" makes {listed(names)}; set it to at least 2"
        )


def _complete(name: str, entry: Any, config: dict[str, Any]) -> dict[str, Any]:
    where = f"config: tune: {name}"
    if name not in config["models"]:
        raise InputError(f"{where}: is not in models; name one of {listed(config['models'])}")
    settings = config["models"][name]
    if MODEL_TYPES[settings["type"]].needs_receptors:
        raise InputError(f"config: tune: {name}: models of type {settings['type']} cannot be tuned; leave it out")
    _require_trainable(where, settings)
    found = validate(entry, load_schema("tune"), where)
    space = {
        setting: _checked(f"{where}: space", setting, found["space"][setting], settings, config["evaluation"])
        for setting in sorted(found["space"], key=str)
    }
    _require_enough(where, space, found["trials"])
    return {**found, "space": space}


def _require_trainable(where: str, settings: dict[str, Any]) -> None:
    """Raise an InputError if a model's training has no settings to choose, or is not trained by this run alone."""
    kind, reason = settings["type"], ""
    if MODEL_TYPES[kind].made_elsewhere:
        reason = f"type {kind} is not trained: its latent space was made elsewhere; leave it out of tune"
    elif kind == BASELINE:
        reason = f"type {kind} is the baseline that all others are compared with; leave it out of tune"
    elif settings.get("pretrained"):
        reason = "the model is pretrained, and nothing is trained; leave it out of tune, or leave pretrained out"
    elif settings.get("init_from"):
        reason = (
            f"the model starts from {settings['init_from']!r}, whose latent space it keeps; tune that one, or leave"
            " init_from out"
        )
    elif settings.get("gpus", 1) > 1:
        reason = f"gpus: {settings['gpus']}: a trial is trained on one GPU; leave gpus out while you tune"
    if reason:
        raise InputError(f"{where}: {reason}")


def _sections(kind: str) -> dict[str, dict[str, Any]]:
    """Return the settings of a type that can be tuned, by section."""
    return {
        section: part["properties"]
        for section, part in settings_schema(kind)["properties"].items()
        if section not in NOT_TUNED and part.get("type") == "object" and part.get("properties")
    }


def _checked(where: str, setting: Any, tried: Any, settings: dict[str, Any], evaluation: dict[str, Any]) -> Any:
    """Return what is tried of a setting: a list of values, or low, high, log and integer of a range."""
    schema = _schema_of(where, setting, settings)
    where, types, found = f"{where}: {setting}", _types(schema), tried
    if isinstance(tried, dict):
        found = _range(where, tried, types)
        values = [found["low"], found["high"]]
    elif isinstance(tried, list) and tried:
        found = values = [_as_number(value) if "number" in types else value for value in tried]
        if len({repr(value) for value in values}) < len(values):
            raise InputError(f"{where}: {shown(repr(values))} names a value twice; list each value once")
    else:
        raise InputError(
            f"{where}: {shown(repr(tried))} is neither a list of values, such as [10, 30], nor a range, such as"
            " {low: 1.0e-4, high: 1.0e-2, log: true}"
        )
    for value in values:
        _require_accepted(where, setting, value, settings, evaluation["max_epochs"])
    return found


def _schema_of(where: str, setting: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of one setting of a model.

    Raises:
        InputError: it has no such setting, or it is not tuned.
    """
    kind = settings["type"]
    known = {f"{section}.{name}": part for section, parts in _sections(kind).items() for name, part in parts.items()}
    if setting in known and setting not in MODEL_TYPES[kind].files:
        return known[setting]
    if setting in known:
        raise InputError(f"{where}: {setting}: names a file, which is not tuned; write another model with another file")
    section = str(setting).partition(".")[0]
    if section in NOT_TUNED and section in settings:
        raise InputError(
            f"{where}: {shown(setting)}: section {section} does not change how the reference is trained, and is not"
            f" tuned; name one of {listed(known, 40)}"
        )
    same = [name for name in known if name.split(".")[1] == setting]
    hint = f" (did you mean {' or '.join(map(repr, same))}?)" if same else did_you_mean(setting, known)
    raise InputError(
        f"{where}: {shown(repr(setting))} is no setting of type {kind}, as section.setting{hint}; its settings are"
        f" {listed(known, 40)}"
    )


def _types(schema: dict[str, Any]) -> list[str]:
    types = schema.get("type", "string")
    return [types] if isinstance(types, str) else types


def _range(where: str, tried: dict[str, Any], types: list[str]) -> dict[str, Any]:
    """Return a range of numbers: low, high, log, and whether the numbers are integers."""
    unknown = [key for key in tried if key not in RANGE]
    if unknown or not {"low", "high"} <= set(tried):
        raise InputError(f"{where}: {shown(repr(tried))} is no range; a range has low, high and, if wanted, log: true")
    if not {"integer", "number"} & set(types):
        raise InputError(f"{where}: has a range, and is no number; list its values in square brackets")
    low, high, log = _number(where, "low", tried["low"]), _number(where, "high", tried["high"]), tried.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{where}: log: {shown(repr(log))} is neither true nor false")
    if low >= high:
        raise InputError(f"{where}: low: {low} is not below high: {high}")
    if log and low <= 0:
        raise InputError(f"{where}: low: {low} has no logarithm; set it above 0, or leave log out")
    return {"low": low, "high": high, "log": log, "integer": "integer" in types}


def _as_number(value: Any) -> Any:
    """Return a number that YAML takes for text, such as 1e-4: it wants 1.0e-4. Anything else stays as it is."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _number(where: str, end: str, value: Any) -> int | float:
    value = _as_number(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{where}: {end}: {shown(repr(value))} is no number")
    return value


def _require_accepted(where: str, setting: str, value: Any, settings: dict[str, Any], max_epochs: int | None) -> None:
    """Raise an InputError if the model would refuse a value, or folds could not tell it from another."""
    name = setting.split(".")[1]
    validate(with_chosen(settings, {setting: value}), settings_schema(settings["type"]), where)
    if name == "max_epochs" and max_epochs is not None and (value is None or value > max_epochs):
        raise InputError(
            f"{where}: {value}: folds train for at most evaluation.max_epochs, {max_epochs}, so that trials could not"
            " tell it from fewer epochs; try fewer, or raise evaluation.max_epochs"
        )


def _require_enough(where: str, space: Space, trials: int) -> None:
    """Raise an InputError if there are fewer settings than trials."""
    if (n := n_points(space)) < trials - 1:
        raise InputError(
            f"{where}: trials: {trials}: the space has {n} settings, which with those of the configuration are {n + 1}"
            " trials at most; lower trials, or widen the space"
        )
