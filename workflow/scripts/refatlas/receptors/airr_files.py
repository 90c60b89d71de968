"""Chains of cells in AIRR tables and Cell Ranger's contig annotations, read by scirpy."""

import gzip
import re
import shutil
import tempfile
import warnings
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.receptors.airr_kinds import AIRR, kind_of
from refatlas.receptors.sequences import require_sequences

if TYPE_CHECKING:
    from anndata import AnnData

LOCI = ("TRA", "TRB")
# Where scirpy keeps chains in obsm.
KEY = "airr"


def read_chains(path: str, where: str) -> pd.DataFrame:
    """Return the chains of each barcode of a file, as `chains_of` does.

    Args:
        path: of Cell Ranger's contig annotations (csv or json), or of an AIRR table (tsv); may be gzipped.
        where: the sheet's row, for messages.

    Raises:
        InputError: it cannot be read as that.
    """
    try:
        cells = _read(path, where)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        wanted = "an AIRR table (tsv)" if kind_of(path) in AIRR else "contig annotations of Cell Ranger"
        raise InputError(
            f"{where}: {path} cannot be read as {wanted} ({type(error).__name__}: {shown(error, 300)}); give"
            " filtered_contig_annotations.csv of Cell Ranger, or an AIRR table with the columns cell_id, locus, v_call,"
            " j_call, c_call, junction_aa and productive"
        ) from error
    return chains_of(cells, f"{where}: {path}")


def _read(path: str, where: str) -> "AnnData":
    import scirpy

    kind, packed = kind_of(path), path.endswith(".gz")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Of anndata, on awkward arrays, which scirpy rests on.
        warnings.filterwarnings("ignore", message="Support for Awkward Arrays")
        if packed:
            plain = Path(folder) / f"chains{kind}"
            with gzip.open(path, "rb") as stored, plain.open("wb") as unpacked:
                shutil.copyfileobj(stored, unpacked)
            path = str(plain)
        with open(path, encoding="utf-8", errors="replace") as file:
            if kind != ".json" and len(list(islice(file, 2))) < 2:
                raise InputError(
                    f"{where}: the table of chains has no row below its header; write '-' in its place if no cell has a"
                    " receptor"
                )
        return scirpy.io.read_airr(path) if kind in AIRR else scirpy.io.read_10x_vdj(path)


def read_stored_chains(path: str, where: str) -> pd.DataFrame:
    """Return the chains of each cell in obsm of an h5ad file, as scirpy writes them.

    Raises:
        InputError: they cannot be read.
    """
    import h5py
    from anndata import AnnData
    from anndata.io import read_elem

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Support for Awkward Arrays")
        with h5py.File(path, "r") as stored:
            cells: Any = read_elem(stored["obs"])
            values: Any = read_elem(stored[f"obsm/{KEY}"])
        if not {"locus", "junction_aa", "productive"} <= set(getattr(values, "fields", ())):
            raise InputError(
                f"{where}: {KEY!r} in obsm of {path} holds no AIRR chains as scirpy writes them; name the table of"
                " chains as airr in the sheet, or cell columns in receptors of the config"
            )
        return chains_of(
            AnnData(obs=pd.DataFrame(index=cells.index.astype(str)), obsm={KEY: values}), f"{where}: {path}"
        )


def chains_of(cells: "AnnData", where: str) -> pd.DataFrame:
    """Return the primary alpha and beta chain of each cell by scirpy's receptor model, and how many there are.

    The primary chain is the one with most UMIs, then with most reads. Only productive chains with a CDR3 count.

    Args:
        cells: with chains in obsm, as scirpy reads them.
        where: the file, for messages.

    Returns:
        Indexed by cell, as `receptor_table` takes it.

    Raises:
        InputError: no chain is a productive one of an alpha-beta T-cell receptor.
    """
    import awkward as ak
    import scirpy

    chains: Any = cells.obsm[KEY]
    productive = ak.fill_none(chains["productive"], False) & ~ak.is_none(chains["junction_aa"], axis=-1)
    counts = {locus: _number(productive & ak.fill_none(chains["locus"] == locus, False)) for locus in LOCI}
    if not sum(int(n.sum()) for n in counts.values()):
        loci = sorted({str(locus) for locus in ak.flatten(chains["locus"]).to_list() if locus})
        raise InputError(
            f"{where}: none of {int(ak.sum(ak.num(chains))):,} chains (loci: {listed(loci)}) is a productive"
            " TRA or TRB chain with a CDR3; clonotypes are of alpha-beta T-cell receptors"
        )
    scirpy.pp.index_chains(cells, filter=_paired_loci)
    found = scirpy.get.airr(cells, ["junction_aa", "v_call"], ["VJ_1", "VDJ_1"])
    names = ["alpha", "alpha_v", "beta", "beta_v"]
    order = ["VJ_1_junction_aa", "VJ_1_v_call", "VDJ_1_junction_aa", "VDJ_1_v_call"]
    table = found[order].set_axis(names, axis=1).set_axis(cells.obs_names.astype(str), axis=0)
    for name in ("alpha", "beta"):
        require_sequences(table[name].dropna(), f"{where}: CDR3s of {name} chains")
    other = _number(productive) - counts["TRA"] - counts["TRB"]
    return table.assign(n_alpha=counts["TRA"], n_beta=counts["TRB"], other_chains=other > 0)


def _paired_loci(chains: Any) -> Any:
    """Return which chains are productive ones of alpha-beta receptors: a mask of scirpy."""
    import awkward as ak

    of_pairs = (chains["locus"] == LOCI[0]) | (chains["locus"] == LOCI[1])
    whole = ak.fill_none(chains["productive"], False) & ~ak.is_none(chains["junction_aa"], axis=-1)
    return whole & ak.fill_none(of_pairs, False)


def _number(mask: Any) -> Any:
    import awkward as ak

    return ak.to_numpy(ak.sum(mask, axis=1))


def core_of(barcode: str) -> str:
    """Return the nucleotides of a barcode, without prefixes and suffixes such as those of samples."""
    return max(re.findall("[ACGT]{8,}", barcode), key=len, default=barcode)
