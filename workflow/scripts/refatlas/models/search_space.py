"""The settings that tuning tries: points of a space, drawn so that a further trial leaves the earlier ones as they are.

Light: Snakemake imports it at every start.
"""

import math
from typing import Any

from refatlas.io.atomic import read_json

# What is tried of each setting ("section.setting"): values, or low, high, log and integer of a range.
Space = dict[str, Any]
# Digits of a drawn number: more would tell no settings apart, and are hard to read.
DIGITS = 4


def with_chosen(settings: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """Return a model's settings with other values of some, which are named section.setting."""
    found = dict(settings)
    for setting, value in chosen.items():
        section, name = setting.split(".")
        found[section] = {**found[section], name: value}
    return found


def tuned_settings(settings: dict[str, Any], best: str | None) -> dict[str, Any]:
    """Return a model's settings with those that tuning chose.

    Args:
        best: path of best.json; None for a model that is not tuned.
    """
    return settings if best is None else with_chosen(settings, read_json(best)["settings"])


def n_points(space: Space) -> float:
    """Return the number of different settings of a space; infinite with a range of numbers that are no integers."""
    sizes = [
        len(part) if isinstance(part, list) else part["high"] - part["low"] + 1 if part["integer"] else math.inf
        for part in space.values()
    ]
    return math.prod(sizes)


def settings_of_trials(space: Space, sampler: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Return the settings of the first n trials; those of trial 0 are {}, which changes nothing.

    Of any n, the first ones are the same.

    Args:
        space: what is tried of each setting.
        sampler: "sobol" (a scrambled Sobol sequence: Owen 1998, by scipy), or "random".
        n: number of trials.
        seed: of the draws.
    """
    names = sorted(space)
    points = [_point(sampler, len(names), i, seed) for i in range(n - 1)]
    return [{}] + [{name: _value(space[name], u) for name, u in zip(names, point, strict=True)} for point in points]


def _point(sampler: str, n_dimensions: int, i: int, seed: int) -> list[float]:
    """Return the i-th point in the unit cube, whatever is drawn beside it."""
    # Not at the top: planning needs no scipy.
    if sampler == "random":
        import numpy as np

        return np.random.default_rng([seed, i]).random(n_dimensions).tolist()
    from scipy.stats import qmc

    sequence = qmc.Sobol(n_dimensions, scramble=True, rng=seed)
    if i:
        sequence.fast_forward(i)
    return sequence.random(1)[0].tolist()


def _value(tried: Any, u: float) -> Any:
    """Return what a number in [0, 1) stands for: one of the values, or a number of the range."""
    if isinstance(tried, list):
        return tried[min(int(u * len(tried)), len(tried) - 1)]
    low, high = tried["low"], tried["high"]
    if tried["integer"]:
        # Each integer has the same share, or that of its logarithm.
        ends = (math.log(low), math.log(high + 1)) if tried["log"] else (low, high + 1)
        place = ends[0] + u * (ends[1] - ends[0])
        return int(min(max(math.floor(math.exp(place) if tried["log"] else place), low), high))
    found = low * (high / low) ** u if tried["log"] else low + u * (high - low)
    return min(max(float(f"{found:.{DIGITS}g}"), float(low)), float(high))
