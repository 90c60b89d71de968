"""Values next to integers become integers; estimated counts are refused, or rounded if that is asked for."""

import h5py
import numpy as np
import pytest
from anndata.io import write_elem
from scipy import sparse

from conftest import sheet_row, small_counts
from refatlas.errors import InputError
from refatlas.io.matrix_rows import Rows
from refatlas.io.raw_counts import open_counts
from refatlas.io.rounded_counts import rounded_rows
from refatlas.io.value_kinds import (
    COUNTS,
    ESTIMATED,
    LOGGED,
    NEARLY,
    NORMALISED,
    NOT_FINITE,
    SCALED,
    ZEROS,
    kind_of_values,
)
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.raw_values import shown_value


@pytest.fixture
def counts():
    return small_counts()


def written(tmp_path, data):
    data.write_h5ad(tmp_path / "a.h5ad")
    return str(tmp_path / "a.h5ad")


def dense(file):
    return np.vstack([block.toarray() for _, block in file.blocks(n_values=300)])


def scanned(path, config, **keys):
    return scan_file(open_counts(path, **keys), "d", sheet_row(path), config["qc"], [])


def noisy(counts, size, dtype=np.float64):
    random, x = np.random.default_rng(0), counts.X.astype(dtype)
    x.data = (x.data + random.uniform(-size, size, len(x.data))).astype(dtype)
    return x


@pytest.mark.parametrize(("size", "dtype"), [(1e-7, np.float64), (9e-4, np.float64), (1e-6, np.float32)])
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_values_next_to_integers_are_rounded_and_counted(tmp_path, counts, config, size, dtype, form):
    truth, x = counts.X.toarray(), noisy(counts, size, dtype)
    counts.X = {"csr": x, "csc": x.tocsc(), "dense": x.toarray()}[form]
    path = written(tmp_path, counts)
    file = open_counts(path)
    assert np.array_equal(dense(file), truth)
    assert "sampled values are no integers, by at most" in file.notes[-1]
    assert scanned(path, config).cells["total_counts"].sum() == truth.sum()


def test_zeros_with_an_error_of_calculation_are_zeros(tmp_path, counts, config):
    truth = counts.X.toarray()
    counts.X = truth + np.random.default_rng(0).uniform(-4e-4, 4e-4, truth.shape)
    path = written(tmp_path, counts)
    assert np.array_equal(dense(open_counts(path)), truth)
    assert not np.signbit(dense(open_counts(path))).any()
    assert scanned(path, config).cells["n_genes"].sum() == (truth > 0).sum()


def test_small_shares_are_no_zeros(tmp_path, counts, config):
    counts.X = sparse.csr_matrix(counts.X.multiply(1e-2 / counts.X.sum(axis=1)))
    with pytest.raises(InputError, match="normalised"):
        scanned(written(tmp_path, counts), config)


def test_integers_pass_unchanged(tmp_path, counts):
    block = counts.X.astype(np.int32)
    rows = rounded_rows(Rows(block.shape, lambda start, stop: block[start:stop], np.cumsum(np.diff(block.indptr))))
    assert rows.read(0, 60).dtype == np.int32
    assert not [note for note in open_counts(written(tmp_path, counts)).notes if "round" in note]


def estimated(counts):
    """Return counts of which a tenth is shared between genes, as RSEM and alevin do."""
    random, x = np.random.default_rng(0), counts.X.toarray() * 10
    moved = random.uniform(0, 0.1, x.shape) * x
    return sparse.csr_matrix(x - moved + np.roll(moved, 1, axis=1))


def test_estimated_counts_are_refused_with_what_to_do(tmp_path, counts, config):
    counts.X = estimated(counts)
    with pytest.raises(InputError, match=r"is not an integer.*look like estimated counts.*round = true"):
        scanned(written(tmp_path, counts), config)


def test_estimated_counts_are_rounded_on_request(tmp_path, counts, config):
    counts.X = estimated(counts)
    path = written(tmp_path, counts)
    file = open_counts(path, rounding=True)
    assert np.array_equal(dense(file), np.rint(counts.X.toarray()))
    assert "rounded to integers, as set in the sheet" in "".join(file.notes)
    assert scanned(path, config, rounding=True).cells["total_counts"].sum() == np.rint(counts.X.toarray()).sum()


@pytest.mark.parametrize(("value", "said"), [(-3.0, "-3 is negative"), (np.inf, "inf is not finite")])
def test_rounding_leaves_what_is_no_count(tmp_path, counts, config, value, said):
    counts.X = estimated(counts)
    counts.X.data[5] = value
    with pytest.raises(InputError, match=f"{said}|seems to be scaled"):
        scanned(written(tmp_path, counts), config, rounding=True)


def test_log_values_are_not_rounded_even_on_request(tmp_path, counts):
    counts.X = sparse.csr_matrix(counts.X.multiply(1e4 / counts.X.sum(axis=1))).log1p()
    with pytest.raises(InputError, match="seems to be log-transformed, and rounding would not give counts"):
        open_counts(written(tmp_path, counts), rounding=True)


def test_what_values_seem_to_be(counts):
    x = counts.X.astype(np.float64)
    sized = sparse.csr_matrix(x.multiply(1e4 / x.sum(axis=1)))
    few = sparse.csr_matrix(sized[:, :40])
    negative = x.copy()
    negative.data -= 1.3
    # Half of the cells have integers, others a few fractions.
    mixed = sparse.vstack([x[:30], estimated(counts)[30:]], format="csr")
    rare = x.copy()
    rare.data[::40] += 0.25
    infinite = x.copy()
    infinite.data[3] = np.nan
    expected = {
        COUNTS: [x, x.astype(np.uint16)],
        NEARLY: [noisy(counts, 1e-4)],
        ZEROS: [x * 0, sparse.csr_matrix((3, 4))],
        NORMALISED: [sized, few, sized * 100],
        LOGGED: [sized.log1p(), few.log1p(), sized.log1p() / np.log(2)],
        ESTIMATED: [estimated(counts), mixed, rare],
        SCALED: [negative],
        NOT_FINITE: [infinite],
    }
    for kind, blocks in expected.items():
        assert {kind_of_values(sparse.csr_matrix(block)) for block in blocks} == {kind}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.5"), (2.0000002, "2.0000002"), (3, "3"), (np.float32(2.0000002), "2.000000238418579"), (1e30, "1e+30")],
)
def test_a_value_is_shown_with_the_digits_that_matter(value, shown):
    assert shown_value(value) == shown


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_half_precision_does_not_overflow(tmp_path, counts, config, form):
    values = sparse.csr_matrix((counts.X * 100).astype(np.float32))
    counts.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        del file["X"]
        if form == "dense":
            file["X"] = values.toarray().astype(np.float16)
        else:
            write_elem(file, "X", values)
            del file["X/data"]
            file["X/data"] = values.data.astype(np.float16)
    total = scanned(str(tmp_path / "a.h5ad"), config).cells["total_counts"].sum()
    assert total == values.sum(dtype=float)
    assert total > np.finfo(np.float16).max
