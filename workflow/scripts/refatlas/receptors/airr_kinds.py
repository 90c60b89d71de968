"""Kinds of tables of chains, by their names. Light: Snakemake imports it at every start."""

# Endings of the names, without ".gz".
CELL_RANGER, AIRR = (".csv", ".json"), (".tsv",)


def kind_of(path: str) -> str:
    """Return the ending of a file of chains, without ".gz"; empty if it is none that is read."""
    plain = path.removesuffix(".gz")
    return next((ending for ending in (*CELL_RANGER, *AIRR) if plain.endswith(ending)), "")
