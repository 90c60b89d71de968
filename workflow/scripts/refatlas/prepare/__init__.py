"""Preparation: quality of cells, selection of genes, proteins, and held-out cells."""
