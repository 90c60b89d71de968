"""Gene sets whose genes have higher or lower statistics than other genes, beyond what correlated genes do by chance.

decoupler's univariate linear model regresses the statistic of all genes on membership of a set (Badia-i-Mompel 2022):
no threshold on genes, no permutations, and swapped groups flip its signs exactly. It takes genes for independent. Those
of a set are not, and then sets stand out by chance. Therefore its t-value is divided by the root of the variance
inflation factor that CAMERA estimates from the residuals of the samples (Wu & Smyth 2012).
"""

import numpy as np
import pandas as pd
from scipy import stats

from refatlas.models.gene_programs import read_gmt

# Smaller sets say little more than their genes do.
MIN_GENES = 5
N_LEADING = 10
# Smaller residuals of logarithms are none.
ROUNDING = 1e-8
COLUMNS = ["gene_set", "score", "p_value", "fdr", "n_genes", "variance_inflation", "leading_genes"]


def gene_set_table(path: str) -> pd.DataFrame:
    """Return the genes of the sets of a GMT file: source and target, the latter in capitals."""
    pairs = [(name, gene) for name, genes in read_gmt(path).items() for gene in sorted(genes)]
    return pd.DataFrame(pairs, columns=["source", "target"])


def residual_effects(counts: np.ndarray, size_factors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return what the design does not explain of each gene's log counts, scaled to a mean square of 1.

    Args:
        counts: shape (n_samples, n_genes). size_factors: of the samples. matrix: of the design.

    Returns:
        Independent residual effects, shape (n_samples - n_coefficients, n_genes); zeros for a gene without any.
    """
    logs = np.log2(counts / size_factors[:, None] + 0.5)
    rotation, _ = np.linalg.qr(matrix, mode="complete")
    effects = rotation[:, matrix.shape[1] :].T @ logs
    scale = np.sqrt((effects**2).mean(axis=0))
    return np.divide(effects, scale, out=np.zeros_like(effects), where=scale > ROUNDING)


def enriched_sets(genes: pd.DataFrame, sets: pd.DataFrame, residuals: np.ndarray) -> pd.DataFrame:
    """Return the enrichment of all sets with at least MIN_GENES of the genes, the most significant first.

    Args:
        genes: symbol, statistic and base_mean of tested genes; of genes of one symbol, that of the highest mean counts.
        sets: of `gene_set_table`.
        residuals: of `residual_effects`, one column for each row of `genes`.

    Returns:
        gene_set; score, above 0 if its genes are higher in the test group: the t-value of the slope, divided by the
        root of variance_inflation; p_value, by Student's t with the degrees of freedom of the residuals; fdr, by
        Benjamini and Hochberg over the sets of this table; n_genes; leading_genes, those of the largest statistics on
        the side of the score.
    """
    import decoupler as dc

    statistics, columns = _by_symbol(genes)
    known = sets[sets["target"].isin(statistics.index)]
    sizes = known.groupby("source").size()
    known = known[known["source"].isin(sizes.index[sizes >= MIN_GENES])]
    if known.empty or statistics.nunique() < MIN_GENES:
        return pd.DataFrame(columns=COLUMNS)
    data, net = statistics.to_frame("contrast").T, known.assign(weight=1.0)
    scores, _ = dc.mt.ulm(data, net, tmin=MIN_GENES)
    members = known.groupby("source")["target"].agg(list)
    effects = pd.DataFrame(residuals[:, columns], columns=statistics.index)
    found = scores.iloc[0].rename("score").rename_axis("gene_set").reset_index()
    found["n_genes"] = found["gene_set"].map(sizes)
    found["variance_inflation"] = [_variance_inflation(effects[members[name]].to_numpy()) for name in found["gene_set"]]
    found["score"] /= np.sqrt(found["variance_inflation"])
    freedom = min(len(residuals), len(statistics) - 2)
    found["p_value"] = 2 * stats.t.sf(found["score"].abs(), freedom)
    found["fdr"] = stats.false_discovery_control(found["p_value"])
    pairs = zip(found["gene_set"], found["score"], strict=True)
    found["leading_genes"] = [_leading(statistics[members[name]], score) for name, score in pairs]
    order = np.lexsort([found["gene_set"], -found["score"].abs()])
    return found.iloc[order].reset_index(drop=True)[COLUMNS]


def _variance_inflation(effects: np.ndarray) -> float:
    """Return by how much correlation inflates the variance of the mean of a set's genes; 1 or more.

    That of CAMERA: the number of genes times the mean square of their mean residual effect.
    """
    return max(float(effects.shape[1] * (effects.mean(axis=1) ** 2).mean()), 1.0)


def _by_symbol(genes: pd.DataFrame) -> tuple[pd.Series, np.ndarray]:
    """Return the statistic of each symbol, in capitals and in order, and its row in the table."""
    rows = genes.reset_index(drop=True)
    known = rows[rows["statistic"].notna() & rows["symbol"].notna()].sort_values("base_mean", ascending=False)
    known = known.assign(symbol=known["symbol"].str.upper()).drop_duplicates("symbol").sort_values("symbol")
    return known.set_index("symbol")["statistic"], known.index.to_numpy()


def _leading(statistics: pd.Series, score: float) -> str:
    side = statistics if score > 0 else -statistics
    return " ".join(side[side > 0].sort_values(ascending=False, kind="stable").index[:N_LEADING])
