"""The raw counts are found among several matrices, or the file is refused with what there is."""

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.place_names import Role, role_of
from refatlas.io.raw_counts import open_counts
from refatlas.io.rounded_values import Doubt, doubt_of, has_ones


@pytest.fixture
def counts():
    """60 cells × 80 genes with mean counts of a few per gene, in integers of one type."""
    return small_counts()


def split(counts, shares=(0.7, 0.25, 0.05), seed=1):
    """Return the spliced, unspliced and ambiguous part of some counts."""
    random, total = np.random.default_rng(seed), counts.X.toarray().astype(int)
    parts = random.multinomial(total, shares)
    return {
        name: sparse.csr_matrix(parts[..., i].astype(np.uint16))
        for i, name in enumerate(("spliced", "unspliced", "ambiguous"))
    }


def logged(counts):
    scaled = sparse.csr_matrix(counts.X.multiply(1e4 / counts.X.sum(axis=1)))
    return scaled.log1p().astype(np.float32)


def written(tmp_path, data):
    """Write a new file, as others may still be open; return its path."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5ad"
    data.write_h5ad(path)
    return str(path)


def read(path, layer=None):
    """Return location and all counts of a file."""
    file = open_counts(path, layer)
    again = open_counts(path, layer, counts_only=True)
    assert again.location == file.location
    return file, np.vstack([block.toarray() for _, block in file.blocks(n_values=300)])


def is_taken(file):
    return [place["location"] for place in file.places if place["taken"]]


def test_the_whole_is_taken_and_not_the_first_part(tmp_path, counts):
    truth = counts.X.toarray()
    counts.layers.update(split(counts) | {"matrix": counts.X.copy()})
    counts.X = logged(counts)
    file, found = read(written(tmp_path, counts))
    assert file.location == "layers/matrix"
    assert np.array_equal(found, truth)
    assert is_taken(file) == ["layers/matrix"]
    assert {place["location"] for place in file.places} == {
        "X",
        *(f"layers/{name}" for name in ("ambiguous", "matrix", "spliced", "unspliced")),
    }
    assert "layers/ambiguous, a part of the counts" in "".join(file.notes)
    assert "X, log-transformed" in "".join(file.notes)


def test_x_that_equals_a_part_is_taken_with_a_note_unless_the_whole_is_there(tmp_path, counts):
    truth, parts = counts.X.toarray(), split(counts)
    counts.layers.update(parts | {"matrix": counts.X.copy()})
    counts.X = parts["spliced"].copy()
    assert np.array_equal(read(written(tmp_path, counts))[1], truth)
    del counts.layers["matrix"]
    file, found = read(written(tmp_path, counts))
    assert file.location == "X"
    assert np.array_equal(found, parts["spliced"].toarray())
    assert "the other parts are left out; set layer to 'spliced+unspliced+ambiguous' for all" in file.notes[0]


@pytest.mark.parametrize("names", [("exon", "intron"), ("mature", "nascent"), ("Spliced", "UNSPLICED")])
def test_parts_alone_are_refused_and_may_be_added(tmp_path, counts, names):
    truth, parts = counts.X.toarray(), split(counts, (0.6, 0.4, 0.0))
    counts.layers.update({names[0]: parts["spliced"], names[1]: parts["unspliced"]})
    counts.X = logged(counts)
    path = written(tmp_path, counts)
    with pytest.raises(InputError, match=rf"only parts of the counts.*set layer to their sum.*{names[0]}"):
        open_counts(path)
    file, found = read(path, "+".join(names))
    assert np.array_equal(found, truth)
    assert file.location == f"layers/{names[0]}+layers/{names[1]}"
    assert "as set in the sheet" in file.notes[0]
    assert len(is_taken(file)) == 2


def test_sums_do_not_overflow_and_a_layer_with_a_plus_in_its_name_is_itself(tmp_path, counts):
    full = sparse.csr_matrix(np.full((60, 80), 200, dtype=np.uint8))
    counts.layers.update({"spliced": full, "unspliced": full.tocsc(), "a+b": counts.X.copy()})
    path = written(tmp_path, counts)
    assert (read(path, "spliced+unspliced")[1] == 400).all()
    assert read(path, "a+b")[0].location == "layers/a+b"
    for layer in ("spliced+absent", "spliced+"):
        with pytest.raises(InputError, match="not in the file; it has X, layers/a"):
            open_counts(path, layer)
    with pytest.raises(InputError, match="twice"):
        open_counts(path, "spliced+spliced")


@pytest.mark.parametrize("name", ["binary", "mask", "detected", "anything"])
def test_indicators_are_not_taken(tmp_path, counts, name):
    truth = counts.X.toarray()
    counts.layers[name] = (counts.X > 0).astype(np.float32)
    counts.layers["zzz"] = counts.X.copy()
    counts.X = logged(counts)
    assert np.array_equal(read(written(tmp_path, counts))[1], truth)
    del counts.layers["zzz"]
    file = open_counts(written(tmp_path, counts))
    assert "nothing in the file seems to hold counts" in file.notes[0]
    assert file.location == "X"


def test_zeros_and_ones_may_be_counts_if_nothing_else_is_there(tmp_path, counts):
    counts.X = (counts.X > 0).astype(np.float32)
    assert read(written(tmp_path, counts))[0].location == "X"


@pytest.mark.parametrize("form", ["sparse", "dense", "csc", "explicit"])
def test_zeros_are_passed_over(tmp_path, counts, form):
    truth = counts.X.toarray()
    counts.layers["counts"] = counts.X.copy()
    zeros = sparse.csr_matrix(counts.shape, dtype=np.float32)
    if form == "explicit":
        zeros = counts.X.copy()
        zeros.data[:] = 0
    counts.X = {"dense": lambda x: x.toarray(), "csc": lambda x: x.tocsc()}.get(form, lambda x: x)(zeros)
    path = written(tmp_path, counts)
    file, found = read(path)
    assert np.array_equal(found, truth)
    assert "X, zeros alone" in "".join(file.notes)
    with pytest.raises(InputError, match=r"X holds zeros alone; counts seem to be in layers/counts \(80 genes"):
        open_counts(path, "X")
    del counts.layers["counts"]
    with pytest.raises(InputError, match=r"no place with raw counts.*X \(zeros"):
        open_counts(written(tmp_path, counts))


def test_a_selection_of_genes_is_not_taken_before_all(tmp_path, counts):
    counts.raw = counts.copy()
    few = counts[:, :20].copy()
    assert len(open_counts(written(tmp_path, few)).genes) == 80
    few.layers["counts"] = few.X.copy()
    few.X = logged(few)
    file, found = read(written(tmp_path, few))
    assert (file.location, found.shape[1]) == ("raw/X", 80)
    assert np.array_equal(found, counts.X.toarray())
    # Other integers in raw: the name decides.
    few.layers["counts"] = few.layers["counts"] * 2
    few.layers["counts"].data[0] = 1
    assert read(written(tmp_path, few))[0].location == "layers/counts"


def test_raw_with_other_cells_is_passed_over(tmp_path, counts):
    counts.raw = counts.copy()
    path = written(tmp_path, counts)
    with h5py.File(path, "a") as file:
        del file["raw/X"]
        from anndata.io import write_elem

        write_elem(file["raw"], "X", counts.X[:30])
    assert read(path)[0].location == "X"
    assert "30 cells instead of 60" in "".join(open_counts(path).notes)
    with pytest.raises(InputError, match="raw/X is 30 × 80, but the file names 60 cells"):
        open_counts(path, "raw")


@pytest.mark.parametrize("name", ["counts", "raw_counts", "Raw-Counts", "UMI", "umi_counts", "rawCounts", "raw"])
def test_names_that_mean_raw_counts_decide(tmp_path, counts, name):
    truth = counts.X.toarray()
    counts.layers[name] = counts.X.copy()
    counts.layers["aaa"] = counts.X * 3
    counts.X = counts.X * 2
    file, found = read(written(tmp_path, counts))
    assert file.location == f"layers/{name}"
    assert np.array_equal(found, truth)


@pytest.mark.parametrize("name", ["decontXcounts", "cellbender", "SoupX_counts", "corrected_counts"])
def test_corrected_counts_come_last(tmp_path, counts, name):
    truth = counts.X.toarray()
    corrected = counts.X.copy()
    corrected.data = np.maximum(corrected.data - 1, 0)
    counts.layers.update({name: corrected, "raw_counts": counts.X.copy()})
    counts.X = corrected.copy()
    assert np.array_equal(read(written(tmp_path, counts))[1], truth)


def test_a_subsample_is_no_rival_of_the_whole(tmp_path, counts):
    truth = counts.X.toarray()
    counts.layers["some"] = split(counts)["spliced"]
    assert np.array_equal(read(written(tmp_path, counts))[1], truth)
    counts.X, counts.layers["some"] = split(counts)["spliced"].astype(np.float32), counts.X.copy()
    file, found = read(written(tmp_path, counts))
    assert (file.location, "most counts" in file.notes[0]) == ("layers/some", True)
    assert np.array_equal(found, truth)


def test_two_places_that_nothing_tells_apart_are_refused_with_their_totals(tmp_path, counts):
    counts.layers["other"] = sparse.csr_matrix(np.roll(counts.X.toarray(), 1, axis=1))
    path = written(tmp_path, counts)
    with pytest.raises(InputError, match=r"several places of different integers.*X \(80 genes, .* per cell\).*layer"):
        open_counts(path)
    assert read(path, "X")[0].location == "X"
    counts.layers["other"] = counts.X * 10
    with pytest.raises(InputError, match="several places"):
        open_counts(written(tmp_path, counts))


def test_copies_are_no_rivals(tmp_path, counts):
    counts.layers.update({"counts": counts.X.tocsc(), "other": counts.X.toarray()})
    counts.raw = counts.copy()
    file = open_counts(written(tmp_path, counts))
    assert file.location == "X"
    assert "the same values as X" in "".join(file.notes)


def test_counts_of_few_of_many_cells_are_seen(tmp_path):
    x = sparse.lil_matrix((5000, 30), dtype=np.float32)
    x[1234] = 3
    data = small_counts(5000, 30)
    data.X, data.layers["log"] = sparse.csr_matrix(x), logged(data)
    file, found = read(written(tmp_path, data))
    assert (file.location, found.sum()) == ("X", 90)


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_large_matrices_are_sampled(tmp_path, monkeypatch, form):
    monkeypatch.setattr("refatlas.io.matrix_sample.WHOLE_VALUES", 1000)
    data = small_counts(900, 120)
    truth = data.X.toarray()
    data.layers.update(split(data) | {"matrix": data.X.copy()})
    data.X = logged(data)
    for name, values in data.layers.items():
        if name is not None:
            data.layers[name] = {"csr": values, "csc": values.tocsc(), "dense": values.toarray()}[form]
    file, found = read(written(tmp_path, data))
    assert file.location == "layers/matrix"
    assert np.array_equal(found, truth)
    [place] = [place for place in file.places if place["taken"]]
    assert place["mean_counts"] == pytest.approx(truth.sum(axis=1).mean(), rel=0.4)


def test_layers_that_are_no_matrices_of_numbers_are_passed_over(tmp_path, counts):
    path = written(tmp_path, counts)
    with h5py.File(path, "a") as file:
        file["layers/text"] = np.full((60, 80), b"x")
        file["layers/list"] = np.arange(4)
        file.create_group("layers/group")
    assert read(path)[0].location == "X"
    with pytest.raises(InputError, match="layers/text"):
        open_counts(path, "text")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("spliced", Role.PART),
        ("counts_unspliced", Role.PART),
        ("ExonCounts", Role.PART),
        ("spliced_unspliced", Role.WHOLE),
        ("exon_intron", Role.WHOLE),
        ("matrix", Role.WHOLE),
        ("raw_counts", Role.RAW_COUNTS),
        ("counts_raw", Role.RAW_COUNTS),
        ("count", Role.COUNTS),
        ("n_counts", Role.COUNTS),
        ("uncorrected_counts", Role.RAW_COUNTS),
        ("corrected_counts", Role.CORRECTED),
        ("decontXcounts", Role.CORRECTED),
        ("X_binned", Role.DERIVED),
        ("logcounts", Role.DERIVED),
        ("not_normalized", Role.COUNTS),
        ("scale.data", Role.DERIVED),
        ("is_detected", Role.INDICATOR),
        ("foo", Role.UNKNOWN),
        ("new_counts", Role.UNKNOWN),
        ("new", Role.PART),
    ],
)
def test_what_names_mean(name, role):
    assert role_of(f"layers/{name}") == role


def test_bins_of_values_are_no_counts(tmp_path, counts):
    counts.layers["X_binned"] = np.digitize(counts.X.toarray(), [1, 2, 5]).astype(np.int64)
    counts.X = logged(counts)
    assert open_counts(written(tmp_path, counts)).location == "X"
    assert pd.Series(open_counts(written(tmp_path, counts)).notes).str.contains("by its name no raw counts").any()


def normalised(counts, total):
    x = counts.X.toarray().astype(np.float64)
    return np.rint(x / x.sum(axis=1, keepdims=True) * total).astype(np.float32)


@pytest.mark.parametrize("total", [1e4, 1e5, 1e6])
def test_rounded_normalised_values_are_refused_unless_the_sheet_names_them(tmp_path, counts, total):
    counts.X = normalised(counts, total)
    path = written(tmp_path, counts)
    with pytest.raises(InputError, match=r"no place with raw counts.*X \(.*normalised and rounded.*set layer"):
        open_counts(path)
    assert open_counts(path, "X").location == "X"


@pytest.mark.parametrize("total", [1e4, 1e6])
def test_rounded_normalised_values_do_not_displace_counts(tmp_path, counts, total):
    truth = counts.copy()
    counts.raw = truth
    counts.raw._X = sparse.csr_matrix(normalised(truth, total))
    counts.layers["counts"] = normalised(truth, total)
    file, found = read(written(tmp_path, counts))
    assert file.location == "X"
    assert np.array_equal(found, truth.X.toarray())
    assert "raw/X, normalised and rounded: all cells have about" in "".join(file.notes)


def test_multiplied_counts_in_raw_give_way_to_counts_and_alone_are_noted(tmp_path, counts):
    truth = counts.copy()
    counts.raw = truth
    counts.raw._X = truth.X * 3
    file, found = read(written(tmp_path, counts))
    assert file.location == "X"
    assert np.array_equal(found, truth.X.toarray())
    assert "raw/X, hardly any cell has a value of 1" in "".join(file.notes)
    alone = truth.copy()
    alone.X = truth.X * 3
    assert "though hardly any cell has a value of 1" in open_counts(written(tmp_path, alone)).notes[0]


def test_counts_drawn_down_to_one_total_are_counts():
    # 60 cells of 500 counts each over 80 genes; then without one gene, so that totals differ by little.
    x = np.random.default_rng(0).multinomial(500, np.arange(1, 81) / 3240, size=60)
    assert doubt_of(sparse.csr_matrix(x)) == (Doubt.NONE, "")
    assert doubt_of(sparse.csr_matrix(x[:, 1:])) == (Doubt.NONE, "")


def test_rounded_values_of_deep_cells_have_ones_and_a_usual_sum():
    # A million reads of a cell over 3,000 genes, scaled to 100,000 and rounded: most cells have a 1.
    means = np.geomspace(0.2, 4000, 3000)
    reads = np.random.default_rng(0).poisson(means * np.linspace(0.7, 1.4, 40)[:, None])
    x = np.rint(reads / reads.sum(axis=1, keepdims=True) * 1e5)
    assert has_ones(sparse.csr_matrix(x))
    # All are below 100,000, as of counts that were drawn down and lost genes.
    assert doubt_of(sparse.csr_matrix(x))[0] == Doubt.SOME
    x[:20, -1] += 200
    assert doubt_of(sparse.csr_matrix(x))[0] == Doubt.ROUNDED
    assert doubt_of(sparse.csr_matrix(reads)) == (Doubt.NONE, "")
