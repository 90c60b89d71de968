"""Several settings of one model by a short list in the configuration. Light: Snakemake imports it at every start."""

import math
from collections import Counter
from itertools import product
from typing import Any

from refatlas.config.validation import MAX_NAME, require_name
from refatlas.errors import InputError, listed, shown

# Each variant is trained in full, and again in every fold; more is a search, which is not what an atlas needs.
MAX_VARIANTS = 20

Models = dict[str, Any]


def expand_variants(models: Models) -> Models:
    """Return the configuration's models, with one model per combination of settings in place of one that has `vary`.

    `scvi: {type: scvi, vary: {model.n_latent: [10, 30]}}` becomes scvi_n_latent_10 and scvi_n_latent_30. Other
    entries stay as they are, in the same order. Whether a setting exists is checked later, by the schema.

    Args:
        models: section models of the configuration, as the user wrote it.

    Raises:
        InputError: `vary` is not a mapping of "section.setting" to lists, has more than 20 combinations, or sets what
            is set already; two models would have the same name, or one that is not allowed; init_from names a model
            that `vary` has replaced.
    """
    if not isinstance(models, dict):
        return models
    variants = {name: _variants(name, entry) for name, entry in models.items() if _varies(entry)}
    expanded: list[tuple[str, Any]] = []
    for name, entry in models.items():
        expanded += variants[name].items() if name in variants else [(name, entry)]
    _require_unique(expanded)
    for name, entry in expanded:
        _check_init_from(name, entry, variants)
    return dict(expanded)


def _varies(entry: Any) -> bool:
    return isinstance(entry, dict) and "vary" in entry


def _variants(name: str, entry: Models) -> Models:
    """Return the models that one entry with `vary` stands for."""
    require_name(name, "config: models: name")
    where, vary = f"config: models: {name}: vary", entry["vary"]
    if not isinstance(vary, dict) or not vary:
        raise InputError(
            f"{where}: {shown(repr(vary))} names no setting; give a list of values for each setting, such as"
            " {model.n_latent: [10, 30]}, or leave vary out"
        )
    for setting, values in vary.items():
        _check_setting(where, setting, values, entry)
    n_variants = math.prod(len(values) for values in vary.values())
    if n_variants > MAX_VARIANTS:
        raise InputError(
            f"{where}: {n_variants:,} combinations of settings; at most {MAX_VARIANTS} models can be made from one,"
            " each is trained in full; shorten the lists"
        )
    found = [_variant(name, entry, dict(zip(vary, values, strict=True))) for values in product(*vary.values())]
    _require_unique(found, where)
    return dict(found)


def _check_setting(where: str, setting: Any, values: Any, entry: Models) -> None:
    """Raise an InputError if a setting or its list of values cannot be varied."""
    section, _, option = str(setting).partition(".")
    if not section or not option or "." in option:
        raise InputError(
            f"{where}: {shown(repr(setting))} cannot be varied; name a setting within a section, as section.setting,"
            " such as model.n_latent (for another type or init_from, write another model)"
        )
    if not isinstance(values, list) or not values:
        raise InputError(
            f"{where}: {shown(setting)}: {shown(repr(values))} is not a list of values; give at least one, in square"
            " brackets, such as [10, 30]"
        )
    given = entry.get(section, {})
    if not isinstance(given, dict):
        raise InputError(
            f"{where}: {shown(setting)}: section {shown(section)} of the model is {shown(repr(given))}; expected"
            " settings by name"
        )
    if option in given:
        raise InputError(
            f"{where}: {shown(setting)} is varied, and set to {shown(repr(given[option]))} in the same model; leave one"
            " of them out"
        )
    for value in values:
        if isinstance(value, dict | list):
            raise InputError(
                f"{where}: {shown(setting)}: {shown(repr(value))} cannot be part of a model's name; give single values"
            )


def _variant(name: str, entry: Models, chosen: dict[str, Any]) -> tuple[str, Models]:
    """Return the name and the entry of one combination of settings.

    Args:
        name, entry: the model with `vary`.
        chosen: value of each setting ("section.setting").
    """
    options = Counter(setting.split(".")[1] for setting in chosen)
    variant = {key: value for key, value in entry.items() if key != "vary"}
    for setting, value in chosen.items():
        section, option = setting.split(".")
        variant[section] = {**variant.get(section, {}), option: value}
        # The same setting of two sections, such as max_epochs of train and surgery, is told apart by the section.
        name += f"_{option if options[option] == 1 else f'{section}_{option}'}_{_text(value)}"
    require_name(name, f"config: models: {shown(name[:MAX_NAME])}: vary makes the name")
    return name, variant


def _text(value: Any) -> str:
    """Return a value as part of a name: 0.001, 1e-05, true, null. A name cannot have the + of 1e+06."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}".replace("+", "") if isinstance(value, float) else str(value)


def _require_unique(models: list[tuple[str, Any]], where: str = "config: models") -> None:
    twice = [name for name, number in Counter(name for name, _ in models).items() if number > 1]
    if twice:
        raise InputError(
            f"{where}: vary makes a model of the name {shown(repr(twice[0]))}, and there is another; list each value"
            " once, or rename one of the models"
        )


def _check_init_from(name: str, entry: Any, variants: dict[str, Models]) -> None:
    base = entry.get("init_from") if isinstance(entry, dict) else None
    if isinstance(base, str) and base in variants:
        raise InputError(
            f"config: models: {name}: init_from: {base!r} has vary, and stands for several models; name one of"
            f" {listed(variants[base], 20)}"
        )
