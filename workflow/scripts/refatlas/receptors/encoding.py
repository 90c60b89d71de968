"""CDR3s of pairs as models read them: codes of amino acids, padded to one length."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from refatlas.receptors.sequences import AMINO_ACIDS, PAIRED

if TYPE_CHECKING:
    from anndata import AnnData

# "_" fills up.
AMINO_ACID_CODES = {letter: code for code, letter in enumerate("_" + AMINO_ACIDS)}


def encoded_pairs(alpha: pd.Series, beta: pd.Series, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes of both CDR3s, shape (n_cells, 2 * max_length), and their lengths, (n_cells, 2); both int64."""
    chains = [_encoded(chain, max_length) for chain in (alpha, beta)]
    lengths = [chain.astype(str).str.len().to_numpy(dtype=np.int64) for chain in (alpha, beta)]
    return np.concatenate(chains, axis=1), np.stack(lengths, axis=1)


def _encoded(sequences: pd.Series, max_length: int) -> np.ndarray:
    codes = [[AMINO_ACID_CODES[letter] for letter in text.ljust(max_length, "_")] for text in sequences.astype(str)]
    return np.array(codes, dtype=np.int64).reshape(len(sequences), max_length)


def usable_pairs(receptors: pd.DataFrame, max_length: int) -> pd.DataFrame:
    """Return alpha and beta of the cells with a pair that a model can read: of known amino acids, and not too long."""
    found = receptors.loc[receptors["status"] == PAIRED, ["alpha", "beta"]]
    known = found.apply(lambda chain: chain.str.fullmatch(f"[{AMINO_ACIDS}]{{1,{max_length}}}"))
    return found[known.all(axis=1)]


def with_pairs(counts: "AnnData", paths: Iterable[str], max_length: int) -> "AnnData":
    """Return the cells with a pair of some counts, with alpha and beta in obs, in the counts' order.

    Args:
        counts: of cells.
        paths: of receptors.parquet, that together have all of the cells.
        max_length: longest CDR3 that is kept.
    """
    receptors = pd.concat([pd.read_parquet(path) for path in paths])
    pairs = usable_pairs(receptors.loc[counts.obs_names], max_length)
    kept = counts.obs_names.isin(pairs.index)
    print(f"{int(kept.sum()):,} of {counts.n_obs:,} cells have a pair of CDR3s of at most {max_length} amino acids")
    found = counts[kept].copy()
    found.obs[["alpha", "beta"]] = pairs.loc[found.obs_names].to_numpy()
    return found
