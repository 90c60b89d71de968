"""Which files of a folder are the matrix, the genes and the cells, by the names that tools give them.

Light: Snakemake imports it at every start.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from refatlas.errors import InputError, listed, shown

# Matrices that hold a part of the counts, or counts of another kind, next to the whole.
PARTS = ("spliced", "unspliced", "ambiguous", "nascent", "mature", "cell", "nucleus")
_WHOLES = (
    *(
        "matrix",
        "total",
        "counts",
        "count",
        "count_matrix",
        "counts_matrix",
        "raw_counts",
        "umi_counts",
        "gene_counts",
        "gene_count",
    ),
    *("umis", "umi", "dge", "expression", "exprs", "cells_x_genes", "quants_mat"),
)
_GENES = (
    *("features", "genes", "feature", "gene", "all_genes", "all_features", "gene_metadata", "gene_info", "gene_ids"),
    *("gene_annotation", "gene_annotations", "gene_annotate", "df_gene", "symbols", "var", "rownames", "peaks"),
)
_GENE_NAMES = ("genes.names", "gene_names", "genenames", "genes_names", "gene.names")
_CELLS = (
    *("barcodes", "barcode", "cells", "cell_names", "cellnames", "cell_ids", "cell_metadata", "cellinfo", "cell_info"),
    *("cell_annotation", "cell_annotations", "cell_annotate", "df_cell", "colnames", "obs", "metadata", "meta"),
)
_WORDS = {"genes": _GENES, "names": _GENE_NAMES, "cells": _CELLS}
_TABLE = re.compile(r"\.(tsv|txt|csv)(\.gz)?$", re.IGNORECASE)
_MATRIX = re.compile(r"\.mtx(\.gz)?$", re.IGNORECASE)
# Between the parts of a name, as in GSM1_matrix_sample.mtx.gz.
_INSIDE = re.compile(
    r"(?:(?P<prefix>.*?)[_.\- ])??(?P<word>barcodes|features|genes|matrix)[_.\- ](?P<suffix>.*)", re.IGNORECASE
)
# The names of Cell Ranger 3 and 2 in the order in which they are taken.
_GENE_FILES = ("features.tsv.gz", "genes.tsv", "features.tsv", "genes.tsv.gz")


@dataclass
class MtxFiles:
    """The files of a matrix in text.

    Attributes:
        folder: that holds them.
        prefix: that their names share; "" for none.
        matrices: paths by the name that the sheet's column layer may give.
        genes, cells: paths of the lists; "" for none.
        names: path of the genes' symbols, in the order of `genes`; "" for none.
        layout: of which tool they are.
        cells_first: whether that tool writes cells × genes; None if the tool is not known.
        notes: what was passed over.
    """

    folder: str
    prefix: str
    matrices: dict[str, str] = field(default_factory=dict)
    genes: str = ""
    cells: str = ""
    names: str = ""
    layout: str = "mtx"
    cells_first: bool | None = None
    notes: list[str] = field(default_factory=list)

    def paths(self) -> list[str]:
        """Return all files."""
        return [path for path in (*self.matrices.values(), self.genes, self.cells, self.names) if path]

    def is_complete(self) -> bool:
        """Return whether there are a matrix, genes and cells."""
        return bool(self.matrices and self.genes and self.cells)


def mtx_samples(folder: str) -> list[MtxFiles]:
    """Return the matrices of a folder with their lists, one for each prefix of file names.

    A list of genes (or of cells) that no prefix fits belongs to all, if there is one alone. Files
    named exactly as Cell Ranger does take precedence over all others in the folder.
    """
    names = sorted(os.listdir(folder))
    lists = _lists(names)
    samples: dict[str, MtxFiles] = {}
    for name in sorted(filter(_MATRIX.search, names), key=lambda name: not name.endswith(".gz")):
        prefix, layer = _place_of(name, lists)
        sample = samples.setdefault(prefix, MtxFiles(folder, prefix))
        sample.matrices.setdefault(layer, str(Path(folder) / name))
    for sample in samples.values():
        _add_lists(sample, lists, len(samples))
        _name_layout(sample)
    plain = samples.get("")
    if plain and plain.is_complete() and "matrix" in plain.matrices and len(samples) > 1:
        others = [path for prefix, s in samples.items() if prefix for path in s.matrices.values()]
        plain.notes.append(f"counts: passed over {listed(Path(path).name for path in others)}")
        return [plain]
    return list(samples.values())


def _lists(names: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Return names of lists of genes, symbols and cells by role and prefix, the likeliest first."""
    found: dict[str, dict[str, list[tuple[int, str]]]] = {role: {} for role in _WORDS}
    for name in names:
        role, prefix, rank = _list_role(name)
        if role:
            found[role].setdefault(prefix, []).append((rank, name))
    return {
        role: {prefix: [name for _, name in sorted(ranked)] for prefix, ranked in by_prefix.items()}
        for role, by_prefix in found.items()
    }


def _list_role(name: str) -> tuple[str, str, int]:
    """Return which list a file is by its name, its prefix, and its place in the order of words."""
    matrix, _, axis = name.removesuffix(".gz").rpartition(".mtx_")
    if axis in ("rows", "cols"):
        return "genes" if axis == "rows" else "cells", matrix, 0
    if not _TABLE.search(name):
        return "", "", 0
    stem = _TABLE.sub("", name)
    for axis, role in (("quants_mat_rows", "cells"), ("quants_mat_cols", "genes")):
        if stem.endswith(axis):
            return role, stem.removesuffix(axis).rstrip("_.- "), 0
    for role in ("names", "genes", "cells"):
        words = _WORDS[role]
        pattern = rf"(?:(?P<prefix>.*?)[_.\- ])??(?P<word>{'|'.join(map(re.escape, words))})"
        if found := re.fullmatch(pattern, stem, re.IGNORECASE):
            rank = 10 + words.index(found["word"].lower())
            exact = name[len(found["prefix"] or "") :].lstrip("_.- ")
            if exact in _GENE_FILES:
                rank = _GENE_FILES.index(exact)
            return role, found["prefix"] or "", 2 * rank + (not name.endswith(".gz"))
    if found := _INSIDE.fullmatch(stem):
        role = "cells" if found["word"].lower() == "barcodes" else "genes"
        return role, _joined(found), 100
    return "", "", 0


def _joined(found: re.Match) -> str:
    return "_".join(part for part in (found["prefix"], found["suffix"]) if part)


def _place_of(name: str, lists: dict[str, dict[str, list[str]]]) -> tuple[str, str]:
    """Return prefix and layer of a matrix; a prefix that lists have too is preferred."""
    stem = _MATRIX.sub("", name)
    places = [(stem, "matrix")]
    pattern = rf"(?:(?P<prefix>.*?)[_.\- ])??(?P<word>{'|'.join((*_WHOLES, *PARTS))}|UniqueAndMult-\w+)"
    if found := re.fullmatch(pattern, stem, re.IGNORECASE):
        word = found["word"]
        places.append((found["prefix"] or "", "matrix" if word.lower() in _WHOLES else word))
    elif inside := _INSIDE.fullmatch(stem):
        places.append((_joined(inside), "matrix"))
    known = {prefix for by_prefix in lists.values() for prefix in by_prefix}
    return next((place for place in places if place[0] in known), places[-1])


def _add_lists(sample: MtxFiles, lists: dict[str, dict[str, list[str]]], n_samples: int) -> None:
    for role in ("genes", "cells", "names"):
        own = lists[role].get(sample.prefix, [])
        every = [name for names in lists[role].values() for name in names]
        # One list of genes may serve many samples; cells are of one sample.
        shared = every if len(every) == 1 and (role != "cells" or n_samples == 1) else []
        if chosen := own or shared:
            setattr(sample, role, str(Path(sample.folder) / chosen[0]))
    if not sample.genes and sample.names:
        sample.genes, sample.names = sample.names, ""


def _name_layout(sample: MtxFiles) -> None:
    """Set the tool that names files so, and the order in which it writes them."""
    matrix = Path(next(iter(sample.matrices.values()))).name.lower()
    genes, cells = Path(sample.genes).name.lower(), Path(sample.cells).name.lower()
    if "cells_x_" in matrix:
        sample.layout, sample.cells_first = "kb-python", True
    elif "quants_mat" in matrix:
        sample.layout, sample.cells_first = "alevin-fry", True
    elif "all_genes" in genes or ("cell_metadata" in cells and re.search("dge|count_matrix", matrix)):
        sample.layout, sample.cells_first = "Parse", True
    elif ".mtx_rows" in genes or (re.search(r"(features|genes|peaks)\.tsv", genes) and "barcodes.tsv" in cells):
        sample.layout, sample.cells_first = "10x", False


def mtx_of_prefix(path: str) -> MtxFiles | None:
    """Return the files that share a prefix, for a path such as folder/GSM1_sample_; None if there are none."""
    folder, prefix = os.path.split(path)
    folder = folder or "."
    if not prefix or os.path.exists(path) or not os.path.isdir(folder):
        return None
    samples = [s for s in mtx_samples(folder) if s.prefix and s.prefix == prefix.rstrip("_.- ")]
    return samples[0] if samples and samples[0].is_complete() else None


def several_samples(folder: str, samples: list[MtxFiles]) -> InputError:
    """Return the error for a folder with the matrices of several samples."""
    prefixes = [sample.prefix or "(none)" for sample in samples]
    return InputError(
        f"{folder}: holds {len(samples)} matrices, whose files begin with {listed(prefixes)}; name one of them as path,"
        f" such as {shown(str(Path(folder) / prefixes[0]), 300)}, and give each its own row"
    )


def incomplete(folder: str, samples: list[MtxFiles]) -> InputError:
    """Return the error for a folder that holds no matrix, or one without its lists."""
    content = listed(sorted(os.listdir(folder)))
    if not samples:
        missing = ["matrix.mtx.gz"]
    else:
        roles = {"genes": "features.tsv.gz (or genes.tsv)", "cells": "barcodes.tsv.gz"}
        missing = [name for role, name in roles.items() if not getattr(samples[0], role)]
    return InputError(
        f"{folder}: {' and '.join(missing)} not found; a 10x mtx folder holds matrix.mtx, features.tsv (or genes.tsv)"
        f" and barcodes.tsv, gzipped or not; it has {content}"
    )
