"""Genes that the configuration names, among those of the models."""

import pandas as pd

from refatlas.errors import InputError, listed


def chosen_genes(names: list[str] | None, genes: pd.DataFrame, where: str) -> list[str]:
    """Return the identifiers of the genes that are named, in the models' order; of all selected genes for None.

    Args:
        names: symbols or identifiers.
        genes: genes.parquet of the reference, with symbol and selected. where: the config's key, for the message.

    Raises:
        InputError: a name is of no gene, or of one that the models lack.
    """
    selected = genes[genes["selected"]]
    if names is None:
        return [str(gene) for gene in selected.index]
    wanted = set(names)
    taken = selected.index.isin(wanted) | selected["symbol"].isin(wanted).to_numpy()
    missing = [name for name in names if name not in selected.index and name not in set(selected["symbol"])]
    if missing:
        known = [name for name in missing if name in genes.index or name in set(genes["symbol"])]
        remedy = f"{listed(known)}: not selected, name it in genes.include; " if known else ""
        raise InputError(
            f"{where}: {listed(missing)} not among the {len(selected)} genes of the models; {remedy}correct the names"
            " (symbols or identifiers, as in results/reference/genes.parquet), or leave genes out for all of them"
        )
    return [str(gene) for gene in selected.index[taken]]
