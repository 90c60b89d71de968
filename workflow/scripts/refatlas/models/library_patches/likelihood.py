"""The negative binomials of scvi-tools, computed by `sparse_likelihood` while a model trains.

Only where the installed functions are the known ones: parameters, values and gradients are compared
first.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from scvi.distributions import NegativeBinomial

from refatlas.models.sparse_likelihood import EPS, log_likelihood

# The module in which the distributions of scvi-tools look up their functions.
DISTRIBUTIONS = sys.modules[NegativeBinomial.__module__]
# Functions of scvi-tools 1.5 that are replaced, and their parameters. With other parameters they
# may be other functions.
PATCHED = {
    "log_nb_positive": ["x", "mu", "theta", "eps", "log_fn", "lgamma_fn"],
    "log_zinb_positive": ["x", "mu", "theta", "pi", "eps", "log_fn", "lgamma_fn"],
}
# How far values and gradients of both may differ, as a share of the largest.
VALUE_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-3


@contextmanager
def use_sparse_likelihood() -> Iterator[bool]:
    """Let the distributions of scvi-tools compute by `log_likelihood` in the block.

    Yields:
        Whether they do. If not, a printed line says why.
    """
    reason = _reason_against()
    if reason:
        print(f"likelihoods are computed by scvi-tools: {reason}", flush=True)
        yield False
        return
    replaced = {name: getattr(DISTRIBUTIONS, name) for name in PATCHED}
    try:
        for name, function in replaced.items():
            setattr(DISTRIBUTIONS, name, _patched(function))
        yield True
    finally:
        for name, function in replaced.items():
            setattr(DISTRIBUTIONS, name, function)


def _patched(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a replacement that calls the function where `log_likelihood` does not apply."""
    signature = inspect.signature(function)

    def likelihood(*args: Any, **kwargs: Any) -> torch.Tensor:
        options = signature.bind(*args, **kwargs).arguments
        values = {name: options.pop(name) for name in ("x", "mu", "theta", "pi") if name in options}
        eps = options.pop("eps", EPS)
        return log_likelihood(**values, eps=eps) if _applies(values, options) else function(*args, **kwargs)

    return likelihood


def _applies(values: dict[Any, torch.Tensor], options: dict[str, Any]) -> bool:
    """Return whether these are a CPU minibatch, with one mean per count and torch's functions."""
    x, theta = values["x"], values["theta"]
    alike = all(v.device.type == "cpu" and v.is_floating_point() and v.dtype == x.dtype for v in values.values())
    shaped = x.ndim == 2 and all(v.shape == x.shape or (v is theta and v.shape == x.shape[1:]) for v in values.values())
    return alike and shaped and not x.requires_grad and all(f in (torch.log, torch.lgamma) for f in options.values())


def _reason_against() -> str | None:
    """Return why the functions of scvi-tools must stay; None if they can be replaced."""
    if torch.cuda.is_available():
        return "not measured on a GPU"
    for name, parameters in PATCHED.items():
        if list(inspect.signature(getattr(DISTRIBUTIONS, name, print)).parameters) != parameters:
            return f"the installed version has a different {name}"
    return next((f"values of {name} differ in the installed version" for name in PATCHED if not _agrees(name)), None)


def _agrees(name: str) -> bool:
    """Return whether values and gradients on a small random minibatch are those of scvi-tools."""
    random = torch.Generator().manual_seed(0)
    x = torch.poisson(4 * torch.rand(16, 32, generator=random) ** 4, generator=random)
    shapes = {"mu": (16, 32), "theta": (32,), "pi": (16, 32)}
    drawn = {p: torch.randn(shapes[p], generator=random) for p in PATCHED[name] if p in shapes}
    values: dict[str, Any] = {p: (value if p == "pi" else value.exp()).requires_grad_() for p, value in drawn.items()}
    with torch.enable_grad():
        sparse, stock = log_likelihood(x, **values), getattr(DISTRIBUTIONS, name)(x, *values.values())
        gradients = [torch.autograd.grad(value.sum(), list(values.values())) for value in (sparse, stock)]
    return _close(sparse, stock, VALUE_TOLERANCE) and all(
        _close(a, b, GRADIENT_TOLERANCE) for a, b in zip(*gradients, strict=True)
    )


def _close(values: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    return (
        values.shape == expected.shape
        and values.dtype == expected.dtype
        and bool((values - expected).abs().max() <= tolerance * expected.abs().max())
    )
