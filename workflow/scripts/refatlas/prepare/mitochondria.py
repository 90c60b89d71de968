"""Which genes of a file are mitochondrial, by symbol or Ensembl id."""

import numpy as np
import pandas as pd

# R writes MT.ND1 and MT_ND1. With these separators, only the names of the 37 genes count: nuclear ones begin alike.
SYMBOL = r"(?i)mt-.*|mt[._](?:nd[1-6]|nd4l|co[1-3]|atp[68]|cyt?b|rnr[12]|t[acdefghikmnpqrtvwy]|t[ls][12])"
# Ids of the 37 genes in Ensembl: of human, and of mouse, whose ids but one follow each other.
HUMAN = (
    "198695 198712 198727 198763 198786 198804 198840 198886 198888 198899 198938 209082 "
    "210049 210077 210082 210100 210107 210112 210117 210127 210135 210140 210144 210151 "
    "210154 210156 210164 210174 210176 210184 210191 210194 210195 210196 211459 212907 "
    "228253"
)
MOUSE = (*range(64336, 64362), *range(64363, 64373), 65947)
IDS = {*(f"ENSG00000{number}" for number in HUMAN.split()), *(f"ENSMUSG000000{number}" for number in MOUSE)}


def are_mitochondrial(genes: pd.DataFrame) -> np.ndarray:
    """Return which genes are mitochondrial.

    Args:
        genes: of `gene_table`. Of another species, those that have no ortholog are known by their own symbol.
    """
    symbols = genes.get("own_symbol", genes["symbol"]).fillna("").astype(str)
    return (symbols.str.fullmatch(SYMBOL) | genes["gene_id"].isin(IDS)).to_numpy(dtype=bool)


def mitochondrial_notes(cells: pd.DataFrame, limit: float | None) -> list[str]:
    """Return a note if there is a limit, but no mitochondrial gene.

    Args:
        cells: with mito_share.
        limit: `qc.max_mito_share`.
    """
    if limit is None or not cells["mito_share"].isna().all():
        return []
    return [
        "quality: no gene is mitochondrial by its symbol (MT-ND1, mt-Nd1) or Ensembl id, so qc.max_mito_share drops no"
        " cell"
    ]
