# in:  config, the two sheets
# out: DATASETS, QUERIES, MODELS: checked rows by name; PRETRAINED: models made elsewhere; FOLDS: the held-out splits; wildcards are constrained to these names
import math
import os
import re
import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(
    0,
    str(workflow.current_basedir.join("../scripts").get_path_or_uri(secret_free=True)),
)

from refatlas.config import (
    HELD_OUT,
    calibrating,
    check_writable,
    complete_config,
    delivered_source,
    folds,
    load_sheets,
    models_with_proteins,
    shortened,
    tree_settings,
)
from refatlas.errors import InputError
from refatlas.files import is_mtx, mtx_files, require_not_in_future, fingerprints, zarr_files
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
    for place in ("results", "logs", "benchmarks"):
        check_writable(CONFIG.get("pathvars", {}).get(place, place))
except InputError as error:
    raise WorkflowError(str(error)) from None

MODELS = CONFIG["models"]
FOLDS = folds(CONFIG["evaluation"])
CONTROLLED = [name for name, row in QUERIES.items() if row["control"]]
CONTROL_MODEL = CONFIG["deliver"]["model"]
# A resource of the rules, not a parameter: a change must not train anything again.
CHECKPOINT_SECONDS = math.ceil(60 * CONFIG["checkpoint"]["minutes"])
DESCRIBED = [m for m, spec in MODELS.items() if MODEL_TYPES[spec["type"]].has_tables]
PRETRAINED = [name for name, spec in MODELS.items() if spec.get("pretrained")]
PRETRAINED_PROTEINS = [
    m for m in PRETRAINED if MODEL_TYPES[MODELS[m]["type"]].needs_proteins
]
WITH_PROTEINS = [name for name, row in DATASETS.items() if row["protein_key"]]


def one_of(names):
    """A regular expression that matches these names alone."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    dataset=one_of(DATASETS),
    query=one_of([*QUERIES, HELD_OUT]),
    model=one_of(MODELS),
    split=one_of(["atlas", *FOLDS]),


def counts_of(row):
    """The files that a row's path stands for: of a folder those inside that tell of a change."""
    path = row["path"]
    return (
        list(mtx_files(path).values()) if is_mtx(path) else zarr_files(path) or [path]
    )


def files_of(row):
    """All files that a sheet's row names."""
    return counts_of(row) + ([row["metadata"]] if row["metadata"] else [])


try:
    require_not_in_future(
        f for row in [*DATASETS.values(), *QUERIES.values()] for f in files_of(row)
    )
except InputError as error:
    raise WorkflowError(str(error)) from None


def stamps_of(row):
    """Size and time of change, in seconds, of the files that a row names: a file put in place of another is noticed also if it is older. Not of the demo's, which a rule makes."""
    files = [file for file in files_of(row) if file not in DEMO.values()]
    return {path: [size, t // 10**9] for path, (size, t) in fingerprints(files).items()}


def spec_of(wildcards, *left_out):
    """A model's settings without those sections, so that a change of them re-runs only the rule that uses them; shorter in folds if so configured."""
    spec = {
        key: value
        for key, value in MODELS[wildcards.model].items()
        if key not in left_out
    }
    if wildcards.split == "atlas":
        return spec
    spec.pop("pretrained", None)
    return shortened(spec, CONFIG["evaluation"])


def outputs_of(wildcards):
    """A model's type and what it is asked to tell."""
    return {
        key: value
        for key, value in MODELS[wildcards.model].items()
        if key in ("type", "outputs")
    }


def cells_of(wildcards):
    """The cells of a query, or of those that a fold holds out, with their known labels."""
    if wildcards.split == "atlas":
        return f"<results>/queries/{wildcards.query}/cells.parquet"
    return f"<results>/{wildcards.split}/queries/{wildcards.query}/cells.parquet"


def unlabeled(wildcards):
    """Values that mean no label; a function, because Snakemake would look for {wildcards} in the texts of a list."""
    return CONFIG["unlabeled"]


def fold_of(wildcards):
    """Which cells a fold trains on, as an input named fold; nothing for the atlas, which trains on all."""
    return (
        {}
        if wildcards.split == "atlas"
        else {"fold": f"<results>/{wildcards.split}/fold.parquet"}
    )


def proteins_of(wildcards):
    """The split's reference, whose proteins a query's are matched to, as an input named reference; nothing where no dataset has proteins."""
    return (
        {"reference": f"<results>/{wildcards.split}/counts.h5ad"}
        if WITH_PROTEINS
        else {}
    )


def sources_of(split, query):
    """What every model says of a query's cells: inputs labels, distance and fit, one file a model; split by split for several splits."""
    return {
        name: expand(
            f"<results>/{{split}}/models/{{model}}/queries/{query}/{name}.parquet",
            split=split,
            model=MODELS,
            allow_missing=True,
        )
        for name in ("labels", "distance", "fit")
    }


def calibration_of(wildcards):
    """What was learned on the folds, and the cells that it was learned on; nothing without folds."""
    names = {"calibration": "calibration.json", "held_out": "held_out.npz"}
    return {key: f"<results>/evaluation/{file}" for key, file in names.items() if FOLDS}


def mapqc_of(wildcards):
    """How far a query's controls are from the reference, and held-out cells from a fold's; nothing for a query without controls."""
    if wildcards.query not in CONTROLLED:
        return {}
    return {
        "mapqc": "<results>/queries/{query}/mapqc.json",
        "mapqc_held_out": expand(
            f"<results>/{{split}}/queries/{HELD_OUT}/mapqc.json",
            split=calibrating(FOLDS),
        ),
    }


def updated_trees():
    """The label trees that labelled queries have extended."""
    return expand(
        "<results>/queries/{query}/{model}_tree.nwk",
        query=CONFIG["tree"]["update"],
        model=CONFIG["tree"]["models"],
    )


def reported(wildcards):
    """What the report shows."""
    return dict(
        calibration_of(wildcards),
        scans=expand("<results>/datasets/{dataset}/scan.json", dataset=DATASETS),
        genes="<results>/atlas/genes.parquet",
        trainings=expand(
            "<results>/atlas/models/{model}/reference/training.csv", model=MODELS
        ),
        training_figures=expand(
            "<results>/report/figures/{model}_training.png", model=MODELS
        ),
        umap_figures=expand("<results>/report/figures/{model}_umap.png", model=MODELS),
        query_figures=expand(
            "<results>/report/figures/query_{query}.png", query=QUERIES
        ),
        checks=expand("<results>/queries/{query}/check.json", query=QUERIES),
        labels=expand("<results>/queries/{query}/labels.csv", query=QUERIES),
        verdicts=expand("<results>/queries/{query}/verdict.json", query=QUERIES),
        mappings=expand(
            "<results>/atlas/models/{model}/queries/{query}/mapping.json",
            query=QUERIES,
            model=MODELS,
        ),
        tables=expand(
            "<results>/atlas/models/{model}/reference/tables", model=DESCRIBED
        ),
        query_tables=expand(
            "<results>/atlas/models/{model}/queries/{query}/tables",
            query=QUERIES,
            model=DESCRIBED,
        ),
        trees=expand(
            "<results>/atlas/models/{model}/reference/tree.png",
            model=CONFIG["tree"]["models"],
        ),
        integration="<results>/evaluation/integration.csv",
        transfer="<results>/evaluation/transfer.csv",
        transfer_figure="<results>/report/figures/transfer.png",
        folds=expand("<results>/{split}/fold.json", split=FOLDS),
    )


def scored(table):
    """One table of scores of every query and every fold."""
    return expand(
        f"<results>/atlas/queries/{{query}}/{table}.csv", query=QUERIES
    ) + expand(f"<results>/{{split}}/queries/{HELD_OUT}/{table}.csv", split=FOLDS)


def minutes(base, per_input_mb=0, of=None):
    """Run time of a rule: a base and a multiple of the size of its inputs, or of the one that `of` names; twice as much at each retry."""

    def runtime(wildcards, input, attempt):
        size_mb = megabytes([input[of]] if of else input) if per_input_mb else 0
        return int((base + per_input_mb * size_mb) * 2 ** (attempt - 1))

    return runtime


def megabytes(paths):
    """Size of files; not input.size_mb, which starts an event loop for each job: half a minute for the jobs of a thousand queries."""
    return sum(os.path.getsize(path) for path in paths) / 2**20


def scaled_mem_mb(base, per_input_mb=0):
    """Memory of a rule: a base and a multiple of its inputs' size; twice as much at each retry."""

    def mem_mb(wildcards, input, attempt):
        return int((base + per_input_mb * megabytes(input)) * 2 ** (attempt - 1))

    return mem_mb


def memory_of_model(base, per_input_mb):
    """Memory of a rule that loads a model's counts; what the counts take on disk hardly matters where they stay there."""

    def mem_mb(wildcards, input, attempt):
        in_memory = scaled_mem_mb(base, per_input_mb)(wildcards, input, attempt)
        stays = {"always": True, "never": False}.get(
            CONFIG["memory"]["from_disk"], in_memory > CONFIG["memory"]["max_mb"]
        )
        if stays and MODEL_TYPES[MODELS[wildcards.model]["type"]].from_disk:
            return scaled_mem_mb(base, per_input_mb=0.5)(wildcards, input, attempt)
        return in_memory

    return mem_mb


def memory_of_training(base, per_input_mb):
    """Memory of a rule that trains a model, by several processes that each load the counts if its settings say so."""
    one, loaded = memory_of_model(base, per_input_mb), scaled_mem_mb(base, per_input_mb)

    def mem_mb(wildcards, input, attempt):
        n = processes_of(wildcards)
        return (
            one(wildcards, input, attempt)
            if n == 1
            else n * loaded(wildcards, input, attempt)
        )

    return mem_mb


def gpus_of(wildcards):
    """One GPU for a type that can use it, none for the others."""
    return int(MODEL_TYPES[MODELS[wildcards.model]["type"]].uses_gpu)


def processes_of(wildcards):
    """How many processes train a model together, each on a GPU of its own."""
    return MODELS[wildcards.model].get("gpus", 1)


def training_gpus_of(wildcards):
    """A GPU for each of these processes."""
    return gpus_of(wildcards) * processes_of(wildcards)


def start_of(wildcards):
    """What training starts from: the model that init_from names (input base), or one made elsewhere (input pretrained), which no fold can take: it has seen all cells."""
    base, made = (
        MODELS[wildcards.model].get(key) for key in ("init_from", "pretrained")
    )
    if made and wildcards.split == "atlas":
        return {"pretrained": f"{made['path']}/model.pt"}
    return (
        {"base": f"<results>/{wildcards.split}/models/{base}/reference/model.pt"}
        if base
        else {}
    )


def given_tree(wildcards):
    """The user's tree of labels, as an input named tree; nothing where it is learned."""
    return {"tree": "<results>/hierarchy.nwk"} if CONFIG["tree"]["file"] else {}


def tree_labels_of(wildcards):
    """The labels by a tree, as an input named tree; nothing for a model without one."""
    path = "<results>/{split}/models/{model}/queries/{query}/tree_labels.parquet"
    return {"tree": path} if wildcards.model in CONFIG["tree"]["models"] else {}


def setting_files_of(wildcards):
    """The files that a model's settings name."""
    spec = MODELS[wildcards.model]
    return list(MODEL_TYPES[spec["type"]].files_in(spec).values())
