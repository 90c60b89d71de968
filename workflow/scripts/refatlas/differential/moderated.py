"""Linear models of many responses of the same samples, with moderated variances (limma: Smyth 2004)."""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from refatlas.differential.design import Design

# Fewer responses do not show how the variance depends on the number of cells.
MIN_TREND = 4


class Moderated(NamedTuple):
    """Moderated t-tests of a contrast, one value a response, such as a label or a protein.

    Attributes:
        effect: of the contrast, on the scale of the values.
        standard_error: with the moderated variance.
        freedom: degrees of freedom, of the residuals and of the prior together.
    """

    effect: np.ndarray
    standard_error: np.ndarray
    freedom: float


def moderated_tests(values: np.ndarray, design: Design, sizes: np.ndarray | None = None) -> Moderated:
    """Return the effects of a design by least squares, with variances that are moderated over the responses.

    Args:
        values: shape (n_samples, n_responses).
        design: of the samples.
        sizes: mean number of cells of each response, if the variance falls with it: variances are then shrunk to a
            power of it between 0 (as between donors) and -1 (as of counting); None shrinks them to one value.
    """
    matrix = design.matrix.to_numpy()
    coefficients = np.linalg.lstsq(matrix, values, rcond=None)[0]
    freedom = len(matrix) - matrix.shape[1]
    variances = ((values - matrix @ coefficients) ** 2).sum(axis=0) / freedom
    expected = np.ones_like(variances) if sizes is None else _trend(variances, sizes)
    moderated, prior = moderated_variances(variances / expected, freedom)
    unscaled = design.contrast @ np.linalg.inv(matrix.T @ matrix) @ design.contrast
    # Never more freedom than all responses have together.
    total = min(freedom + prior, freedom * values.shape[1])
    return Moderated(design.contrast @ coefficients, np.sqrt(moderated * expected * unscaled), total)


def _trend(variances: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return what variances are expected to be by the sizes, up to a factor."""
    log_sizes = np.log(sizes) - np.log(sizes).mean()
    spread = log_sizes @ log_sizes
    if len(sizes) < MIN_TREND or not spread > 0 or not (variances > 0).any():
        return np.ones_like(variances)
    return np.exp(log_sizes * np.clip(log_sizes @ _logs(variances) / spread, -1, 0))


def _logs(variances: np.ndarray) -> np.ndarray:
    """Return logarithms; a variance of zero has none, and gets limma's limit."""
    return np.log(np.maximum(variances, 1e-5 * np.median(variances[variances > 0])))


def moderated_variances(variances: np.ndarray, freedom: int) -> tuple[np.ndarray, float]:
    """Return variances shrunk to what the responses have in common, and the prior's degrees of freedom (limma).

    The prior is a scaled inverse chi-squared distribution, by the mean and variance of the logarithms (Smyth 2004,
    section 6.2).

    Args:
        variances: of the residuals, one a response.
        freedom: degrees of freedom of each.
    """
    if len(variances) < 2 or not (variances > 0).any():
        return variances, 0.0
    logs = _logs(variances) - special.digamma(freedom / 2) + np.log(freedom / 2)
    excess = logs.var(ddof=1) - special.polygamma(1, freedom / 2)
    if excess <= 0:
        return np.full_like(variances, np.exp(logs.mean())), np.inf
    half = _trigamma_inverse(float(excess))
    common = np.exp(logs.mean() + special.digamma(half) - np.log(half))
    return (2 * half * common + freedom * variances) / (2 * half + freedom), 2 * half


def _trigamma_inverse(value: float) -> float:
    """Return the number whose trigamma is `value`: between 1 / value and 1 / value + 1 / sqrt(value)."""
    low, high = 0.5 / value, 1 + 2 / value + 2 / np.sqrt(value)
    return optimize.brentq(lambda x: special.polygamma(1, x) - value, low, high, xtol=1e-12 * low, rtol=1e-12)


def t_tests(found: Moderated) -> np.ndarray:
    """Return statistic, p-value and FDR over the responses, shape (3, n_responses)."""
    # Responses that do not vary at all do not differ.
    statistic = np.divide(
        found.effect, found.standard_error, out=np.zeros_like(found.effect), where=found.standard_error > 0
    )
    p_value = 2 * stats.t.sf(np.abs(statistic), found.freedom)
    return np.stack([statistic, p_value, stats.false_discovery_control(p_value)])
