# in:  config, the two sheets
# out: DATASETS, QUERIES, MODELS: checked rows by name; wildcards are constrained to these names
import re
import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(
    0,
    str(workflow.current_basedir.join("../scripts").get_path_or_uri(secret_free=True)),
)

from refatlas.config import check_writable, complete_config, load_sheets
from refatlas.errors import InputError
from refatlas.files import is_mtx, mtx_files, zarr_files
from refatlas.models import BASELINE, MODEL_TYPES

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

try:
    CONFIG = complete_config(config)
    DATASETS, QUERIES = load_sheets(CONFIG, made=tuple(DEMO.values()))
    check_writable(CONFIG.get("pathvars", {}).get("results", "results"))
except InputError as error:
    raise WorkflowError(str(error)) from None

MODELS = CONFIG["models"]
LABEL_LEVELS = max(len(row["label_keys"]) for row in DATASETS.values())


def one_of(names):
    """A regular expression that matches these names alone."""
    return "|".join(re.escape(name) for name in names)


wildcard_constraints:
    dataset=one_of(DATASETS),
    query=one_of(QUERIES),
    model=one_of(MODELS),
    split="atlas",


def counts_of(row):
    """The files that a row's path stands for: of a folder those inside that tell of a change."""
    path = row["path"]
    return (
        list(mtx_files(path).values()) if is_mtx(path) else zarr_files(path) or [path]
    )


def files_of(row):
    """All files that a sheet's row names."""
    return counts_of(row) + ([row["metadata"]] if row["metadata"] else [])


def spec_of(wildcards, *left_out):
    """A model's settings without those sections, so that a change of them re-runs only the rule that uses them."""
    return {
        key: value
        for key, value in MODELS[wildcards.model].items()
        if key not in left_out
    }


def scaled_mem_mb(base, per_input_mb):
    """Memory of a rule: a base and a multiple of its inputs' size; twice as much at each retry."""
    return lambda wildcards, input, attempt: int(
        (base + per_input_mb * input.size_mb) * 2 ** (attempt - 1)
    )


def gpus_of(wildcards):
    """One GPU for a type that can use it, none for the others."""
    return int(MODEL_TYPES[MODELS[wildcards.model]["type"]].uses_gpu)


def base_of(wildcards):
    """The model that init_from names, as an input named base; nothing for a model that starts afresh."""
    base = MODELS[wildcards.model].get("init_from")
    return (
        {"base": f"<results>/{wildcards.split}/models/{base}/reference/model.pt"}
        if base
        else {}
    )
