"""The resolution that is suggested, by the stability of its clusters. Light: reports import it."""

import pandas as pd

# Hennig (2007) calls clusters with a mean Jaccard index of at least 0.85 highly stable.
STABLE = 0.85


def finest_stable(summary: pd.DataFrame) -> int | None:
    """Return the row of the finest resolution with several clusters that is stable; None if there is none.

    Stable means that the lower end of the interval is at least STABLE: a mean as high can hide resolutions that
    subsamples split in different ways.

    Args:
        summary: rows from coarse to fine, with n_clusters and stability_low.
    """
    stable = summary[(summary["n_clusters"] > 1) & (summary["stability_low"] >= STABLE)]
    return int(stable.index[-1]) if len(stable) else None


def suggested(summary: pd.DataFrame) -> int:
    """Return the row of the suggested resolution: the finest that is stable, or else the most stable one.

    A resolution with one cluster, or with single cells alone, says nothing: it is only suggested if all are so.

    Args:
        summary: rows from coarse to fine, with n_clusters, stability and stability_low.
    """
    if (stable := finest_stable(summary)) is not None:
        return stable
    several = summary[(summary["n_clusters"] > 1) & (summary["stability"] > 0)]
    return int(several["stability"].idxmax() if len(several) else summary.index[0])


def suggestion_notes(summary: pd.DataFrame) -> list[str]:
    """Return what figures and pages say beside each resolution: "" unless it is the suggested one.

    Args:
        summary: cluster_stability.csv.
    """
    none_is_stable = finest_stable(summary) is None and summary["n_clusters"].max() > 1
    note = "most stable; none is stable" if none_is_stable else "suggested"
    return [note if chosen else "" for chosen in summary["suggested"]]
