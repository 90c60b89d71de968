"""The log-likelihoods of scvi-tools' negative binomials, with lgamma and digamma on the counts that
are not zero.

They are exact: at a count of 0, lgamma(0 + theta) - lgamma(theta) - lgamma(0 + 1) is 0, and so is
its derivative. Of single-cell counts nine in ten are 0,
and on a CPU these functions take most of the time of a training step.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from scvi.distributions import NegativeBinomial
from torch.autograd.function import once_differentiable

stock = sys.modules[NegativeBinomial.__module__]  # where its distributions look their functions up
ENABLED = True  # benchmarks and tests set it to False, to compare with scvi-tools as it is
EPS = 1e-8
# The functions of scvi-tools 1.5 that are taken over, and their parameters; with other parameters
# they may be other functions.
PATCHED = {
    "log_nb_positive": ["x", "mu", "theta", "eps", "log_fn", "lgamma_fn"],
    "log_zinb_positive": ["x", "mu", "theta", "pi", "eps", "log_fn", "lgamma_fn"],
}
# What values and gradients of both may differ by, as a share of the largest.
VALUE_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-3


class _LogLikelihood(torch.autograd.Function):
    """log NB(x; mu, theta), or with logits `pi` of dropout log ZINB(x; mu, theta, pi), and its
    derivatives by mu, theta and pi (Lopez 2018).
    """

    @staticmethod
    def forward(ctx, x, mu, theta, pi, eps):
        """Return log-likelihoods of the shape of x; mu, theta and pi are of that shape too, theta
        may be one row, expanded.
        """
        row = theta[:1] if theta.stride(0) == 0 else theta
        place = torch.from_numpy(np.flatnonzero(x.numpy() != 0))  # half the time of torch.nonzero
        counted = _Counted(x, mu, row, place, eps)
        log_failure = torch.log(row + eps) - (mu + (row + eps)).log_()
        value, terms = log_failure * row, counted.value()
        if pi is not None:
            logit = value - pi
            value = F.softplus(logit).sub_(F.softplus(-pi))
            terms = terms - F.softplus(
                -logit.view(-1)[place]
            )  # softplus(a) - softplus(-a) = a: no dropout where something was counted
        counted.added(terms, value)
        ctx.counted, ctx.eps = counted, eps
        ctx.save_for_backward(mu, row, log_failure, pi)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        """Return the gradients by x (none), mu, theta, pi and eps (none)."""
        mu, row, log_failure, pi = ctx.saved_tensors
        failure = row / (mu + (row + ctx.eps))
        not_dropped = by_pi = by_theta = None
        if pi is not None:
            not_dropped = torch.sigmoid(log_failure * row - pi)
            not_dropped.view(-1)[ctx.counted.place] = 1
            by_pi = torch.sigmoid(-pi).sub_(not_dropped).mul_(gradient)
        by_mu = ctx.counted.added(ctx.counted.by_mu(), -failure, not_dropped).mul_(gradient)
        if ctx.needs_input_grad[2]:  # not at surgery
            everywhere = (log_failure - failure).add_(row / (row + ctx.eps))
            by_theta = ctx.counted.added(ctx.counted.by_theta(), everywhere, not_dropped).mul_(gradient)
        return None, by_mu, by_theta, by_pi, None


class _Counted:
    """The terms that only counts above 0 have: x log(mu / (theta + mu)) + log(gamma(x + theta) /
    (gamma(theta) x!)), one value for each.
    """

    def __init__(self, x, mu, row, place, eps) -> None:
        self.place, self.eps, self.row = place, eps, row.reshape(-1)
        self.gene = place % x.shape[1] if len(row) == 1 else place
        self.x, self.mu, self.theta = x.view(-1)[place], mu.view(-1)[place], self.row[self.gene]

    def value(self) -> torch.Tensor:
        """Return the terms."""
        odds = torch.log(self.mu + self.eps) - torch.log(self.theta + self.mu + self.eps)
        return (
            self.x * odds + torch.lgamma(self.x + self.theta) - self._of_theta(torch.lgamma) - torch.lgamma(self.x + 1)
        )

    def by_mu(self) -> torch.Tensor:
        """Return the terms' derivatives by mu."""
        return self.x / (self.mu + self.eps) - self.x / (self.theta + self.mu + self.eps)

    def by_theta(self) -> torch.Tensor:
        """Return the terms' derivatives by theta."""
        return (
            torch.digamma(self.x + self.theta)
            - self._of_theta(torch.digamma)
            - self.x / (self.theta + self.mu + self.eps)
        )

    def added(self, terms: torch.Tensor, everywhere: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Return, in its own place, what every count has (times weights), with the terms of those
        above 0 added.
        """
        if weights is not None:
            everywhere.mul_(weights)
        everywhere.view(-1).index_add_(0, self.place, terms)
        return everywhere

    def _of_theta(self, function) -> torch.Tensor:
        # Once a gene where all cells share theta, unless most genes have no count.
        return function(self.row)[self.gene] if len(self.row) < len(self.theta) else function(self.theta)


def log_likelihood(
    x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, pi: torch.Tensor | None = None, eps: float = EPS
) -> torch.Tensor:
    """Return the log-likelihood of each count under NB(mu, theta), or ZINB(mu, theta, pi), shape
    (n_cells, n_genes).

    Args:
        x: counts. mu: means. theta: inverse dispersions, (n_genes,) or one for each count. pi:
            logits of dropout. eps: added within logarithms.
    """
    return _LogLikelihood.apply(
        x.contiguous(), mu.contiguous(), theta.expand(x.shape), None if pi is None else pi.contiguous(), eps
    )


@contextmanager
def use_sparse_likelihood() -> Iterator[bool]:
    """Let scvi-tools' distributions compute by `log_likelihood` as long as this lasts; give whether
    they do. If not, a printed line says why.
    """
    obstacle = _obstacle()
    if obstacle:
        print(f"likelihoods are computed as scvi-tools does it: {obstacle}", flush=True)
        yield False
        return
    theirs = {name: getattr(stock, name) for name in PATCHED}
    try:
        for name, function in theirs.items():
            setattr(stock, name, _patched(function))
        yield True
    finally:
        for name, function in theirs.items():
            setattr(stock, name, function)


def _patched(function: Callable) -> Callable:
    """Return a function that stands in for one of scvi-tools, and hands it the calls that
    `log_likelihood` is not made for.
    """
    signature = inspect.signature(function)

    def likelihood(*args, **kwargs):
        options = signature.bind(*args, **kwargs).arguments
        values = {name: options.pop(name) for name in ("x", "mu", "theta", "pi") if name in options}
        eps = options.pop("eps", EPS)
        return log_likelihood(**values, eps=eps) if _fits(values, options) else function(*args, **kwargs)

    return likelihood


def _fits(values: dict[str, torch.Tensor], options: dict) -> bool:
    """Return whether these are a minibatch on the CPU, with a mean for each count, and torch's own
    functions.
    """
    x, theta = values["x"], values["theta"]
    alike = all(v.device.type == "cpu" and v.is_floating_point() and v.dtype == x.dtype for v in values.values())
    shaped = x.ndim == 2 and all(v.shape == x.shape or (v is theta and v.shape == x.shape[1:]) for v in values.values())
    return alike and shaped and not x.requires_grad and all(f in (torch.log, torch.lgamma) for f in options.values())


def _obstacle() -> str | None:
    """Return why scvi-tools' own functions are to be used; None if there is no reason."""
    if not ENABLED:
        return "switched off"
    if torch.cuda.is_available():
        return "not measured on a GPU"
    for name, parameters in PATCHED.items():
        if list(inspect.signature(getattr(stock, name, print)).parameters) != parameters:
            return f"the installed version has another {name}"
    return next((f"values of {name} differ in the installed version" for name in PATCHED if not _agrees(name)), None)


def _agrees(name: str) -> bool:
    """Return whether a function of scvi-tools gives the values and gradients of `log_likelihood` on
    a small random minibatch.
    """
    random = torch.Generator().manual_seed(0)
    x = torch.poisson(4 * torch.rand(16, 32, generator=random) ** 4, generator=random)
    shapes = {"mu": (16, 32), "theta": (32,), "pi": (16, 32)}
    parameters = [torch.randn(shapes[p], generator=random) for p in PATCHED[name] if p in shapes]
    parameters = [(p if i == 2 else p.exp()).requires_grad_() for i, p in enumerate(parameters)]
    with torch.enable_grad():
        own, theirs = log_likelihood(x, *parameters), getattr(stock, name)(x, *parameters)
        gradients = [torch.autograd.grad(value.sum(), parameters) for value in (own, theirs)]
    return _close(own, theirs, VALUE_TOLERANCE) and all(
        _close(a, b, GRADIENT_TOLERANCE) for a, b in zip(*gradients, strict=True)
    )


def _close(own: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
    return (
        own.shape == theirs.shape
        and own.dtype == theirs.dtype
        and bool((own - theirs).abs().max() <= tolerance * theirs.abs().max())
    )
