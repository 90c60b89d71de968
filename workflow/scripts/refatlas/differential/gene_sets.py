"""Gene sets whose genes have higher or lower statistics than other genes, by decoupler's univariate linear model.

The statistic of all genes is regressed on membership of a set (Badia-i-Mompel 2022). It needs no threshold on genes
and no permutations, and swapped groups flip its signs exactly. Like all tests of genes against genes, it takes genes
for independent, which those of a set are not (Wu & Smyth 2012): it ranks sets better than it counts them.
"""

import numpy as np
import pandas as pd

from refatlas.models.gene_programs import read_gmt

# Smaller sets say little more than their genes do.
MIN_GENES = 5
N_LEADING = 10
COLUMNS = ["gene_set", "score", "fdr", "n_genes", "leading_genes"]


def gene_set_table(path: str) -> pd.DataFrame:
    """Return the genes of the sets of a GMT file: source and target, the latter in capitals."""
    pairs = [(name, gene) for name, genes in read_gmt(path).items() for gene in sorted(genes)]
    return pd.DataFrame(pairs, columns=["source", "target"])


def enriched_sets(genes: pd.DataFrame, sets: pd.DataFrame) -> pd.DataFrame:
    """Return the enrichment of all sets with at least MIN_GENES of the genes, the most significant first.

    Args:
        genes: symbol, statistic and base_mean of tested genes; of genes of one symbol, that of the highest mean counts.
        sets: of `gene_set_table`.

    Returns:
        gene_set; score, the t-value of the slope, above 0 if its genes are higher in the test group; fdr, by Benjamini
        and Hochberg over the sets of this table; n_genes; leading_genes, those of the largest statistics on the side of
        the score.
    """
    import decoupler as dc

    statistics = _by_symbol(genes)
    known = sets[sets["target"].isin(statistics.index)]
    sizes = known.groupby("source").size()
    known = known[known["source"].isin(sizes.index[sizes >= MIN_GENES])]
    if known.empty or statistics.nunique() < 3:
        return pd.DataFrame(columns=COLUMNS)
    scores, fdr = dc.mt.ulm(statistics.to_frame("contrast").T, known.assign(weight=1.0), tmin=MIN_GENES)
    found = pd.DataFrame({"score": scores.iloc[0], "fdr": fdr.iloc[0]}).rename_axis("gene_set").reset_index()
    found["n_genes"] = found["gene_set"].map(sizes)
    members = known.groupby("source")["target"].agg(list)
    pairs = zip(found["gene_set"], found["score"], strict=True)
    found["leading_genes"] = [_leading(statistics[members[name]], score) for name, score in pairs]
    order = np.lexsort([found["gene_set"], -found["score"].abs()])
    return found.iloc[order].reset_index(drop=True)[COLUMNS]


def _by_symbol(genes: pd.DataFrame) -> pd.Series:
    """Return the statistic of each symbol, in capitals."""
    known = genes[genes["statistic"].notna() & genes["symbol"].notna()].sort_values("base_mean", ascending=False)
    found = known["statistic"].set_axis(known["symbol"].str.upper())
    return found[~found.index.duplicated()].sort_index()


def _leading(statistics: pd.Series, score: float) -> str:
    side = statistics if score > 0 else -statistics
    return " ".join(side[side > 0].sort_values(ascending=False, kind="stable").index[:N_LEADING])
