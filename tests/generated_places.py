"""Where the files of `generated_files` have their counts: in X, a layer or raw, with other matrices beside them."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import sparse

GOOD_LAYERS = ("counts", "raw_counts", "count", "umi", "UMI", "umis", "raw")
UNKNOWN_LAYERS = ("my_layer", "soupx", "a", "matrix", "data1", "original")


@dataclass
class Places:
    """Matrices of cells × features.

    Attributes:
        x: X, or None.
        layers: by name.
        raw: matrix of raw, with all features.
        n_x: number of features of X and the layers, the first ones, where raw has more.
        truth: the counts, cells × features of the place.
        layer: for the sheet, if it must say.
        plain: whether a reader must find the counts.
    """

    x: np.ndarray | None
    layers: dict[str, np.ndarray] = field(default_factory=dict)
    raw: np.ndarray | None = None
    n_x: int = 0
    truth: np.ndarray | None = None
    layer: str | None = None
    plain: bool = True
    trait: str = ""


def lognorm(counts: np.ndarray) -> np.ndarray:
    """Return counts normalised for each cell, and log-transformed."""
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)


def scaled(counts: np.ndarray) -> np.ndarray:
    """Return z scores of log-normalised counts."""
    logged = lognorm(counts)
    return (logged - logged.mean(axis=0)) / (logged.std(axis=0) + 1e-9)


def parts(counts: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return spliced, unspliced and ambiguous counts whose sum is all counts."""
    unspliced = rng.binomial(counts, 0.3)
    ambiguous = rng.binomial(counts - unspliced, 0.08)
    return {"spliced": counts - unspliced - ambiguous, "unspliced": unspliced, "ambiguous": ambiguous}


def plan(counts: np.ndarray, rng: np.random.Generator) -> Places:
    """Return where counts are, chosen at random."""
    return PLANS[rng.integers(len(PLANS))](counts, rng)


def in_x(counts: np.ndarray, rng: np.random.Generator) -> Places:
    others = {"lognorm": lognorm(counts), "scaled": scaled(counts), "logcounts": lognorm(counts)}
    kept = {name: m for name, m in others.items() if rng.random() < 0.3}
    return Places(counts, kept, truth=counts, trait="X")


def in_layer(counts: np.ndarray, rng: np.random.Generator) -> Places:
    name = str(rng.choice(GOOD_LAYERS))
    x = [lognorm(counts), scaled(counts), np.zeros_like(counts), (counts > 0).astype(int)][rng.integers(4)]
    return Places(x, {name: counts, "z_scaled": scaled(counts)}, truth=counts, trait=f"layer {name}")


def in_unknown_layer(counts: np.ndarray, rng: np.random.Generator) -> Places:
    name = str(rng.choice(UNKNOWN_LAYERS))
    x = None if rng.random() < 0.3 else lognorm(counts)
    return Places(x, {name: counts, "norm": lognorm(counts)}, truth=counts, trait=f"layer {name}, unknown")


def in_raw(counts: np.ndarray, rng: np.random.Generator) -> Places:
    n = counts.shape[1] if rng.random() < 0.4 else counts.shape[1] - int(rng.integers(1, 6))
    x = [lognorm(counts), scaled(counts), np.zeros_like(counts)][rng.integers(3)][:, :n]
    return Places(x, raw=counts, n_x=n, truth=counts, trait=f"raw of all genes, X of {n}")


def in_x_and_raw(counts: np.ndarray, rng: np.random.Generator) -> Places:
    n = counts.shape[1] - int(rng.integers(1, 6))
    return Places(counts[:, :n], raw=counts, n_x=n, truth=counts, trait=f"X of {n} genes, raw of all")


def beside_normalised_raw(counts: np.ndarray, rng: np.random.Generator) -> Places:
    return Places(counts, raw=lognorm(counts), n_x=counts.shape[1], truth=counts, trait="X, and a normalised raw")


def beside_parts(counts: np.ndarray, rng: np.random.Generator) -> Places:
    name = str(rng.choice(["matrix", "counts", "total", "X"]))
    layers = parts(counts, rng)
    if name == "X":
        return Places(counts, layers, truth=counts, trait="X beside parts")
    return Places(lognorm(counts), {name: counts, **layers}, truth=counts, trait=f"layer {name} beside parts")


def sum_of_parts(counts: np.ndarray, rng: np.random.Generator) -> Places:
    names = [["spliced", "unspliced"], ["spliced", "unspliced", "ambiguous"]][rng.integers(2)]
    layers = parts(counts, rng)
    truth = sum(layers[name] for name in names)
    return Places(lognorm(counts), layers, truth=np.asarray(truth), layer="+".join(names), trait="sum of parts")


def beside_indicators(counts: np.ndarray, rng: np.random.Generator) -> Places:
    name = str(rng.choice(["binary", "a_detected", "mask"]))
    layers = {name: (counts > 0).astype(int), str(rng.choice(GOOD_LAYERS)): counts}
    return Places(lognorm(counts), layers, truth=counts, trait=f"beside indicator {name}")


def beside_fewer_counts(counts: np.ndarray, rng: np.random.Generator) -> Places:
    """Counts of which some were taken away, as X or a layer: names decide, if anything does."""
    fewer = rng.binomial(counts, 0.6)
    if rng.random() < 0.5:
        return Places(fewer, {"counts": counts}, truth=counts, plain=False, trait="X of fewer counts")
    return Places(counts, {"downsampled": fewer}, truth=counts, plain=False, trait="layer of fewer counts")


def as_the_sheet_says(counts: np.ndarray, rng: np.random.Generator) -> Places:
    other = rng.poisson(2.0, counts.shape)
    if rng.random() < 0.3:
        return Places(counts, {"counts": other}, truth=counts, layer="X", trait="X by the sheet")
    return Places(other, {"mine": counts, "counts": other}, truth=counts, layer="mine", trait="layer by the sheet")


PLANS = (
    *(in_x, in_x, in_layer, in_layer, in_unknown_layer, in_raw, in_x_and_raw, beside_normalised_raw),
    *(beside_parts, sum_of_parts, beside_indicators, beside_fewer_counts, as_the_sheet_says),
)


def stored(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray | sparse.spmatrix:
    """Return a matrix dense, by rows or by columns, in a random type that holds its values exactly."""
    is_integer = bool((matrix == np.rint(matrix)).all())
    kinds = ["float32", "float32", "float64"]
    if is_integer:
        kinds += ["int32", "int64", "uint16", "uint32", "int16"] + (["float16"] if matrix.max() < 2048 else [])
        kinds += ["int8", "uint8"] if matrix.max() < 128 else []
    values = matrix.astype(str(rng.choice(kinds)))
    form = rng.integers(3)
    if form == 0 or values.dtype == np.float16:
        return values
    found = sparse.csr_matrix(values) if form == 1 else sparse.csc_matrix(values)
    return unsorted(found, rng) if rng.random() < 0.3 else found


def unsorted(matrix: sparse.spmatrix, rng: np.random.Generator) -> sparse.spmatrix:
    """Return a compressed matrix with the values of each row in random order."""
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        order = start + rng.permutation(stop - start)
        matrix.indices[start:stop], matrix.data[start:stop] = matrix.indices[order], matrix.data[order]
    matrix.has_sorted_indices = False
    return matrix


def nearly(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return counts with errors of rounding."""
    return matrix + (matrix > 0) * rng.uniform(-1e-6, 1e-6, matrix.shape)


def marked_kinds(n_genes: int, n_proteins: int, rng: np.random.Generator) -> tuple[pd.Series, str]:
    """Return the kind of each feature in one of many spellings, and the name of its column."""
    spellings = [
        ("feature_types", "Gene Expression", "Antibody Capture"),
        ("feature_types", "GEX", "ADT"),
        ("feature_types", "gex", "protein"),
        ("feature_type", "Gene Expression", "Antibody Capture"),
        ("modality", "RNA", "ADT"),
        ("modality", "rna", "prot"),
        ("feature_types", "Gene Expression", "Peaks"),
        ("feature_types", "Gene Expression", "CRISPR Guide Capture"),
        ("feature_types", "mRNA", "AbSeq"),
    ]
    column, gene, other = spellings[rng.integers(len(spellings))]
    return pd.Series([gene] * n_genes + [other] * n_proteins), column
