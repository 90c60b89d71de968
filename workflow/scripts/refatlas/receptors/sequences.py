"""CDR3 sequences of cells: what a table of receptors holds, and how sequences are checked.

A table of receptors is indexed by cell. Columns: alpha and beta, the CDR3 amino acids of the primary chain of each
kind, None without one; alpha_v and beta_v, their V genes, None where unknown; n_alpha and n_beta, the number of
productive chains; other_chains, whether there are chains of other loci (gamma, delta, or of B cells); status, of
`STATUSES`.
"""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed

PAIRED = "paired"
# Of a cell: it has a pair, lacks one of the chains or both, or has more chains of a kind than one T cell can have.
STATUSES = (PAIRED, "no_alpha", "no_beta", "no_receptor", "multichain")
# A T cell has two alleles of each chain.
MOST_CHAINS = 2
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
PLAIN = re.compile(f"[{AMINO_ACIDS}X]+")
# How programs write a stop codon or a frame shift: such a chain is not productive.
BROKEN = re.compile(r"[*_]")
NUCLEOTIDES = re.compile("[ACGTUN]{15,}")
COLUMNS = ("alpha", "beta", "alpha_v", "beta_v", "n_alpha", "n_beta", "other_chains", "status")
# From this share on, sequences are taken to begin with the conserved cysteine.
WITH_CYSTEINE = 0.5


def receptor_table(chains: pd.DataFrame) -> pd.DataFrame:
    """Return a table of receptors, with the status of each cell.

    Args:
        chains: indexed by cell: alpha, beta, alpha_v, beta_v, n_alpha, n_beta, other_chains; missing values are of
            cells without receptors.
    """
    numbers = {name: pd.to_numeric(chains[name]).fillna(0).astype(int) for name in ("n_alpha", "n_beta")}
    found = chains.assign(**numbers, other_chains=chains["other_chains"].eq(True))
    for name in ("alpha", "beta", "alpha_v", "beta_v"):
        found[name] = found[name].astype(object).where(found[name].notna(), None)
    many = (found["n_alpha"] > MOST_CHAINS) | (found["n_beta"] > MOST_CHAINS)
    alpha, beta = found["alpha"].notna(), found["beta"].notna()
    found["status"] = np.select(
        [many, alpha & beta, beta, alpha], ["multichain", PAIRED, "no_alpha", "no_beta"], "no_receptor"
    ).astype(object)
    return found[list(COLUMNS)]


def require_sequences(sequences: pd.Series, where: str) -> None:
    """Raise an InputError unless all values are amino acids, in one letter each.

    Args:
        sequences: CDR3s, indexed by cell, without missing ones.
        where: the file and its column, for messages.
    """
    coded = sequences.astype(str)
    nucleotides = coded.str.fullmatch(NUCLEOTIDES)
    if nucleotides.mean() > WITH_CYSTEINE:
        raise InputError(
            f"{where}: {int(nucleotides.sum()):,} of {len(coded):,} sequences, such as {coded[nucleotides].iloc[0]!r},"
            " are of nucleotides; give the amino acids of CDR3 (cdr3 of Cell Ranger, junction_aa of AIRR)"
        )
    wrong = ~coded.str.fullmatch(PLAIN)
    if wrong.any():
        raise InputError(
            f"{where}: {int(wrong.sum()):,} of {len(coded):,} values are no sequences of amino acids, such as"
            f" {coded[wrong].iloc[0]!r} of cell {coded.index[wrong][0]!r}; give CDR3s in letters such as CASSLGQAYEQYF,"
            " several chains of a cell separated by ';', and no value for a cell without"
        )


def with_cysteine(receptors: pd.DataFrame) -> float:
    """Return the share of CDR3s that begin with the conserved cysteine; NaN without any."""
    sequences = pd.concat([receptors["alpha"], receptors["beta"]]).dropna()
    return float(sequences.str.startswith("C").mean())


def require_same_form(shares: Mapping[str, float]) -> None:
    """Raise an InputError if some sources write CDR3s with the conserved residues, and others without.

    Args:
        shares: of `with_cysteine`, by dataset and query.
    """
    known = {name: share for name, share in shares.items() if not np.isnan(share)}
    without = [name for name, share in known.items() if share < WITH_CYSTEINE]
    if without and len(without) < len(known):
        found = listed((f"{name}: {100 * share:.0f} %" for name, share in known.items()), 10)
        raise InputError(
            f"config: receptors: the CDR3s of {listed(without)} begin without the conserved cysteine, and those of"
            f" others with it (share of CDR3s that begin with C: {found}), so that no clonotype of one would be found"
            " in the other; give junction_aa of AIRR, or cdr3 of Cell Ranger, everywhere"
        )
