"""Likelihoods on non-zero counts, and other work that is skipped: the numbers are those of scvi-tools.

Where the installed scvi-tools differs, its own functions are used.
"""

from contextlib import contextmanager, nullcontext

import anndata as ad
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import scvi  # noqa: E402
from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial  # noqa: E402

from refatlas.models import scvi_training  # noqa: E402
from refatlas.models.interface import JobContext  # noqa: E402
from refatlas.models.library_patches.likelihood import DISTRIBUTIONS, use_sparse_likelihood  # noqa: E402
from refatlas.models.library_patches.scvi_tools import LogFirstStepOnly, skip_unused_dropout  # noqa: E402
from refatlas.models.sparse_likelihood import log_likelihood  # noqa: E402

pytestmark = pytest.mark.slow
STOCK = {"nb": DISTRIBUTIONS.log_nb_positive, "zinb": DISTRIBUTIONS.log_zinb_positive}
SETTINGS = {"max_epochs": 3, "batch_size": 128, "lr": 1e-3, "patience": 10, "min_delta": 1e-4, "kl_warmup": 0.5}


def counts(kind: str) -> torch.Tensor:
    """Return 40 cells of 30 genes: most are 0, and so are all of cell 3 and all of gene 5; `kind`
    says what else.
    """
    random = torch.Generator().manual_seed(1)
    x = torch.poisson(6 * torch.rand(40, 30, generator=random) ** 5, generator=random)
    x[3], x[:, 5] = 0, 0
    if kind == "large":
        x[7] = torch.logspace(2, 6, 30).round()
    return {"none": torch.zeros_like(x), "dense": x + 1}.get(kind, x)


def parameters(name: str, theta: str, dtype=torch.float32, spread: float = 1) -> list[torch.Tensor]:
    """Return log-normal mu and theta and, for zinb, pi."""
    random = torch.Generator().manual_seed(2)
    shapes = [(40, 30), (30,) if theta == "gene" else (40, 30), (40, 30)]
    mu, theta, pi = (spread * torch.randn(shape, generator=random, dtype=dtype) for shape in shapes)
    return [v.requires_grad_() for v in (mu.exp(), theta.exp(), 3 * pi)][: 2 if name == "nb" else 3]


def value_and_gradients(function, x: torch.Tensor, values: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the log-likelihoods, and the gradients of their sum weighted by cell."""
    result = function(x, *values)
    weights = torch.linspace(0.5, 2, len(x), dtype=x.dtype)
    return [result, *torch.autograd.grad(result.sum(1) @ weights, values)]


@pytest.mark.parametrize("kind", ["sparse", "none", "dense", "large"])
@pytest.mark.parametrize("theta", ["gene", "count"])
@pytest.mark.parametrize("name", ["nb", "zinb"])
def test_values_and_gradients_are_those_of_scvi_tools(name, theta, kind):
    x, values = counts(kind), parameters(name, theta)
    own, stock = (value_and_gradients(f, x, values) for f in (log_likelihood, STOCK[name]))
    for a, b, tolerance in zip(own, stock, [1e-5, 1e-3, 1e-3, 1e-3], strict=False):
        assert a.dtype == b.dtype == torch.float32
        assert a.shape == b.shape
        # Relative to the largest of a cell; both lose digits where theta is much larger than mu,
        # which double precision is tried on.
        assert ((a - b).abs() <= tolerance * b.abs().amax(-1, keepdim=True)).all()


@pytest.mark.parametrize("theta", ["gene", "count"])
@pytest.mark.parametrize("name", ["nb", "zinb"])
def test_nothing_is_left_of_the_difference_in_double_precision(name, theta):
    x, values = counts("large").double(), parameters(name, theta, torch.float64, spread=3)
    own, stock = (value_and_gradients(f, x, values) for f in (log_likelihood, STOCK[name]))
    for a, b in zip(own, stock, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


@pytest.mark.parametrize("name", ["nb", "zinb"])
def test_means_learn_as_before_where_dispersions_do_not(name):
    x, (mu, theta, *pi) = counts("sparse"), parameters(name, "gene")
    own, stock = (
        torch.autograd.grad(f(x, mu, theta.detach(), *pi).sum(), mu)[0] for f in (log_likelihood, STOCK[name])
    )
    torch.testing.assert_close(own, stock, rtol=1e-3, atol=1e-6 * float(stock.abs().max()))


def test_sum_over_a_cell_agrees_to_a_hundred_thousandth():
    x, values = counts("sparse"), parameters("nb", "gene")
    own, stock = log_likelihood(x, *values).sum(1), STOCK["nb"](x, *values).sum(1)
    assert ((own - stock).abs() <= 1e-5 * stock.abs()).all()


def names_of_operations(x: torch.Tensor) -> list[str]:
    """Return what the distributions of scvi-tools compute with at present."""
    mu, theta, pi = parameters("zinb", "gene")
    distributions = NegativeBinomial(mu=mu, theta=theta), ZeroInflatedNegativeBinomial(mu=mu, theta=theta, zi_logits=pi)
    return [type(d.log_prob(x).grad_fn).__name__ for d in distributions]


def test_distributions_use_it_for_as_long_as_it_lasts(capsys):
    with use_sparse_likelihood() as used:
        assert used
        assert names_of_operations(counts("sparse")) == ["_LogLikelihoodBackward"] * 2
    assert "_LogLikelihoodBackward" not in names_of_operations(counts("sparse"))
    assert DISTRIBUTIONS.log_nb_positive is STOCK["nb"]
    assert capsys.readouterr().out == ""


def test_an_error_within_gives_the_functions_back():
    with pytest.raises(KeyError), use_sparse_likelihood():
        raise KeyError
    assert DISTRIBUTIONS.log_zinb_positive is STOCK["zinb"]


def test_other_calls_are_left_to_scvi_tools():
    mu, theta = parameters("nb", "gene")
    with use_sparse_likelihood():
        for x in (counts("sparse"), counts("sparse").unsqueeze(0)):  # draws from the posterior come in three dimensions
            own = DISTRIBUTIONS.log_nb_positive(x, mu.expand(3, 40, 30), theta)
            torch.testing.assert_close(own, STOCK["nb"](x, mu.expand(3, 40, 30), theta), rtol=0, atol=0)


def halved(x, mu, theta, eps=1e-8, log_fn=torch.log, lgamma_fn=torch.lgamma):
    """The negative binomial with a factor that scvi-tools does not have."""
    return STOCK["nb"](x, mu, theta, eps) / 2


def steeper(x, mu, theta, eps=1e-8, log_fn=torch.log, lgamma_fn=torch.lgamma):
    """The negative binomial's values, with another gradient."""
    return STOCK["nb"](x, mu, theta, eps) + (mu - mu.detach())


@pytest.mark.parametrize(
    ("function", "reason"),
    [(halved, "values"), (steeper, "values"), (lambda x, rate: x, "different"), (None, "different")],
)
def test_stays_off_and_says_so_where_the_library_differs(monkeypatch, capsys, function, reason):
    (
        monkeypatch.setattr(DISTRIBUTIONS, "log_nb_positive", function)
        if function
        else monkeypatch.delattr(DISTRIBUTIONS, "log_nb_positive")
    )
    with use_sparse_likelihood() as used:
        assert not used
        assert getattr(DISTRIBUTIONS, "log_nb_positive", None) is function
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert reason in printed
    assert "log_nb_positive" in printed


def test_stays_off_on_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with use_sparse_likelihood() as used:
        assert not used
    assert "GPU" in capsys.readouterr().out


def test_the_check_leaves_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with use_sparse_likelihood():
        assert torch.equal(torch.rand(3), expected)


@pytest.fixture(scope="module")
def donors(real):
    """2,000 cells and 500 genes of eight donors."""
    donors = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))[::6, :500].copy()
    donors.X = donors.X.astype(np.float32)
    return donors[np.asarray(donors.X.sum(1)).ravel() > 0].copy()


def losses(counts, labels: dict, model: dict):
    """Return the losses of each epoch of a training of scvi, or with labels of scanvi, and the
    weights that it ends with.
    """
    scvi_training.start_training(JobContext())
    kind = scvi.model.SCANVI if labels else scvi.model.SCVI
    kind.setup_anndata(counts, batch_key="batch", **labels)
    trained = kind(counts, n_hidden=32, n_latent=5, **model, **scvi_training.SURGERY_READY)
    recorder = scvi_training.train(trained, SETTINGS, "training", on_reference=True, job=JobContext())
    history = {name: frame.to_numpy(dtype=float).ravel() for name, frame in trained.history.items()}
    return recorder.rows, history, {name: value.numpy() for name, value in trained.module.state_dict().items()}


@contextmanager
def as_scvi_tools_does_it(monkeypatch):
    """Train without the patches of scvi-tools."""
    with monkeypatch.context() as patch:
        patch.setattr(scvi_training, "use_sparse_likelihood", nullcontext)
        patch.setattr(LogFirstStepOnly, "setup", lambda *_, **__: None)
        patch.setattr(scvi_training, "skip_unused_dropout", nullcontext)
        yield


@pytest.mark.parametrize(
    ("labels", "model"),
    [
        ({}, {"gene_likelihood": "nb"}),
        ({}, {"gene_likelihood": "zinb", "dispersion": "gene-batch"}),
        ({"labels_key": "cell_type", "unlabeled_category": "none"}, {"gene_likelihood": "nb"}),
    ],
    ids=["scvi", "zinb", "scanvi"],
)
def test_training_ends_as_that_of_scvi_tools(donors, monkeypatch, capsys, labels, model):
    rows, history, weights = losses(donors, labels, model)
    assert "computed by scvi-tools" not in capsys.readouterr().out
    with as_scvi_tools_does_it(monkeypatch):
        stock_rows, stock_history, stock_weights = losses(donors, labels, model)
    assert len(rows) == len(stock_rows) == SETTINGS["max_epochs"]
    for row, stock in zip(rows, stock_rows, strict=True):
        assert set(scvi_training.LOSSES) <= set(row)
        assert [row[name] for name in scvi_training.LOSSES] == pytest.approx(
            [stock[name] for name in scvi_training.LOSSES], rel=1e-4
        )
    assert set(history) == set(stock_history)
    assert all(history[name] == pytest.approx(stock_history[name], rel=1e-3) for name in history)
    dropout = "decoder.px_dropout_decoder.weight"
    assert np.array_equal(weights[dropout], stock_weights[dropout]) == (model["gene_likelihood"] == "nb")


@pytest.mark.parametrize("name", ["nb", "zinb"])
def test_logits_of_dropout_are_computed_for_zinb_alone(donors, name):
    scvi.model.SCVI.setup_anndata(donors, batch_key="batch")
    module = scvi.model.SCVI(donors, n_hidden=8, gene_likelihood=name).module
    decode = module.decoder.px_dropout_decoder
    with skip_unused_dropout(module):
        assert (decode(torch.zeros(2, 8)) is None) == (name == "nb")
    assert decode(torch.zeros(2, 8)).shape == (2, donors.n_vars)
