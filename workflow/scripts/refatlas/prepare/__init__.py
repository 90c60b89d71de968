"""Preparation: quality of cells, genes and their selection, proteins, and cells that are held out."""
