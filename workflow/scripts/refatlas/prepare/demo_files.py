"""Paths of the demo's files. Light: Snakemake imports it at every start."""

DEMO = {
    "blood": "demo/atlas_blood.h5ad",
    "marrow": "demo/atlas_marrow.h5",
    "marrow_cells": "demo/atlas_marrow_cells.csv",
    "spleen": "demo/atlas_spleen/matrix.mtx.gz",
    "spleen_features": "demo/atlas_spleen/features.tsv.gz",
    "spleen_barcodes": "demo/atlas_spleen/barcodes.tsv.gz",
    "spleen_cells": "demo/atlas_spleen_cells.csv",
    "inflamed": "demo/query_inflamed.h5ad",
    "panel": "demo/query_panel.h5ad",
}
