# in:  the configuration, the two sheets, and the manifest of an atlas bundle if the configuration names one
# out: ATLAS (that manifest), CONFIG, DATASETS, QUERIES, MODELS (checked, by name), FOLDS; LABELLED (whether the reference has labels), RELABELLED (whether an annotation
#      or a label map gives them); constraints of the wildcards; functions for inputs and params
#
# {split}  a reference: "reference", or that of a fold, "evaluation/FOLD"
# {query}  cells mapped onto it: "queries/NAME", or those that a fold holds out, "evaluation/FOLD/heldout"
# {name}   a query of the sheet; {dataset}, {model}, {fold}: names of theirs
import gc
import math
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import IncompleteCheckpointException, WorkflowError
from snakemake.logging import logger
from snakemake.sourcecache import LocalSourceFile

# Planning makes millions of small objects that stay: searching them for garbage takes a fifth of its CPU time.
gc.freeze()
gc.set_threshold(100_000, 50, 100)

VERSION = "0.9.2"
# Every job compares its package with this version (refatlas/jobs/run.py).
ENVIRONMENT = {"REFATLAS_VERSION": VERSION}
SCRIPTS = workflow.current_basedir.join("../scripts")
if isinstance(SCRIPTS, LocalSourceFile):
    # In a local copy of the repository, the package beside the scripts takes precedence over an installed one. So it
    # does in jobs, where Snakemake would search this folder last.
    folder = os.path.abspath(SCRIPTS.get_path_or_uri(secret_free=True))
    sys.path.insert(0, folder)
    ENVIRONMENT["PYTHONPATH"] = os.pathsep.join(
        filter(None, [folder, os.environ.get("PYTHONPATH")])
    )
os.environ.update(ENVIRONMENT)

# In a job on SLURM: jobs that share a submission take no more memory together than it was given, which Snakemake does
# not pass on. srun drops SLURM's variable, so another one hands it down to the Snakemake that runs the jobs.
GIVEN_MB = ("SLURM_MEM_PER_NODE", "REFATLAS_GIVEN_MB")
given_mb = next(filter(None, map(os.environ.get, GIVEN_MB)), None)
if workflow.remote_exec and given_mb:
    os.environ.update(REFATLAS_GIVEN_MB=given_mb)
    workflow.register_resource("mem_mb", int(given_mb))

try:
    import refatlas
except ModuleNotFoundError:
    raise WorkflowError(
        "the Python package refatlas is not installed, and Snakemake does not fetch it from a repository with the "
        f"rules; install the wheel of refatlas {VERSION} into the environment that runs Snakemake, or clone the "
        "repository and give the path of its workflow/Snakefile (docs/reuse.md)"
    ) from None
if refatlas.__version__ != VERSION:
    raise WorkflowError(
        f"this workflow is refatlas {VERSION}, but Python imported refatlas {refatlas.__version__} from "
        f"{os.path.dirname(refatlas.__file__)}; install version {VERSION}, or uninstall the other one"
    )

from refatlas.bundle.manifest import (
    MATCHED_SAMPLE,
    digest_of,
    find_manifest,
    read_manifest,
    require_files,
    settings_to_keep,
    settings_with_atlas,
)
from refatlas.bundle.source import (
    atlas_path,
    bundle_of_record,
    hand_over_addresses,
    with_hub_models,
)
from refatlas.config.atlas import atlas_setting
from refatlas.config.annotation import (
    read_annotation,
    reads_labels,
    resolution_names,
)
from refatlas.config.contrasts import contrast_sources, gene_set_file
from refatlas.config.expression import (
    check_settings,
    counterfactual_pairs,
    require_possible,
)
from refatlas.config.external_maps import with_maps
from refatlas.config.folds import (
    HELD_OUT,
    calibration_folds,
    folds,
    limit_epochs,
)
from refatlas.config.label_map import read_label_map
from refatlas.config.model_markers import require_possible_markers
from refatlas.config.receptors import READING, require_possible_receptors
from refatlas.config.labels import (
    LEFT_OUT_OF_ATLAS,
    check_label_levels,
    has_labels,
    label_levels,
    without_labels,
)
from refatlas.config.ontology import read_terms
from refatlas.config.settings import (
    check_writable,
    complete_config,
    delivered_source,
    models_with_proteins,
    require_outside,
    tree_settings,
)
from refatlas.config.sheets import (
    load_sheets,
    remember_sheets,
    take_receptor_tables,
    take_systems,
)
from refatlas.config.species import take_species
from refatlas.config.tuning import SPLIT as TUNING, tuning_folds, tuning_split
from refatlas.errors import InputError
from refatlas.io.fingerprints import fingerprints, require_not_in_future
from refatlas.io.atomic import read_json
from refatlas.io.formats import input_files
from refatlas.models.registry import (
    BASELINE,
    MODEL_TYPES,
    mapping_settings,
    table_settings,
    whole_models,
)
from refatlas.prepare.demo_files import DEMO
from refatlas.prepare.ortholog_columns import BUNDLED
from refatlas.publish.settings import hub_model, publish_settings
from refatlas.config.addresses import marker_of, use_cache
from refatlas.resources import (
    criticism_mem_mb,
    describing_mem_mb,
    mapping_mem_mb,
    marker_mem_mb,
    megabytes,
    minutes,
    minutes_by_type,
    scaled_mem_mb,
    training_mem_mb,
    trial_mem_mb,
)
from refatlas.revisions import revision

ATLAS, ATLAS_PATH = None, None
try:
    use_cache(config.get("cache"))
    may_fetch = not workflow.output_settings.dryrun
    if config.get("atlas") is not None:
        ATLAS_PATH = atlas_path(atlas_setting(config["atlas"]), may_fetch)
        ATLAS = read_manifest(ATLAS_PATH)
    # Files that are fetched by address are linked from a folder of the results.
    FETCHED, LOGS = (
        workflow.modifier.modify_path(workflow.pathvars.apply(path))
        for path in ("<results>/fetched", "<logs>")
    )
    # HUB_FILES: addresses of pretrained models, by path below that folder.
    given, HUB_FILES = with_hub_models(config, FETCHED, LOGS, may_fetch)
    CONFIG = with_maps(
        complete_config(
            settings_with_atlas(given, ATLAS) if ATLAS else given,
            produced=[f"{FETCHED}/{key}" for key in HUB_FILES],
        )
    )
    DATASETS, QUERIES = load_sheets(
        CONFIG,
        produced=tuple(DEMO.values()),
        fetched=FETCHED,
        datasets=ATLAS and ATLAS["datasets"],
    )
    SYSTEMS = take_systems(DATASETS, QUERIES)
    SPECIES = take_species(DATASETS, QUERIES, CONFIG)
    TABLES_OF_CHAINS = take_receptor_tables(DATASETS, QUERIES)
    require_possible_receptors(CONFIG, bool(ATLAS))
    ANNOTATION = (
        read_annotation(CONFIG["annotation"], CONFIG) if CONFIG["annotation"] else []
    )
    if CONFIG["ontology"]["terms"]:
        read_terms(CONFIG["ontology"]["terms"])
    LABEL_MAP = (
        read_label_map(CONFIG["label_map"], DATASETS) if CONFIG["label_map"] else []
    )
    check_label_levels(DATASETS, ANNOTATION, LABEL_MAP, CONFIG["annotation"])
    for place in ("results", "logs", "benchmarks"):
        check_writable(
            workflow.modifier.modify_path(workflow.pathvars.apply(f"<{place}>"))
        )
    for key in ("annotation", "label_map", "exclude"):
        require_outside(
            CONFIG[key],
            workflow.modifier.modify_path(workflow.pathvars.apply("<results>")),
            f"config: {key}",
        )
except InputError as error:
    raise WorkflowError(str(error)) from None

remember_sheets(CONFIG["reference"], CONFIG["queries"])
hand_over_addresses(HUB_FILES)

# Contrasts between conditions, none unless the configuration names some.
CONTRASTS = CONFIG.get("differential", {}).get("contrasts", {})
# Models whose gene programs or proteins a contrast compares, apart: naming one computes nothing else again.
FEATURES = {name: contrast["features"] for name, contrast in CONTRASTS.items()}
# The models in whose latent space a contrast compares densities, apart for the same reason.
DENSITIES = {name: contrast.get("density") for name, contrast in CONTRASTS.items()}
CONTRASTS = {
    name: {
        key: value
        for key, value in contrast.items()
        if key not in ("features", "density")
    }
    for name, contrast in CONTRASTS.items()
}
LABELLED = has_labels(DATASETS, ANNOTATION)
RELABELLED = bool(CONFIG["annotation"] or CONFIG["label_map"])
if ATLAS:
    LABELLED, RELABELLED = (ATLAS["labels"][key] for key in ("labelled", "relabelled"))
# What is left out without labels, and why.
LEFT_OUT = []
if not LABELLED:
    CONFIG, LEFT_OUT = (
        (CONFIG, [LEFT_OUT_OF_ATLAS]) if ATLAS else without_labels(CONFIG)
    )
    if not workflow.remote_exec:
        for line in LEFT_OUT:
            logger.warning(line)
MODELS = whole_models(CONFIG["models"])
# Models of cells with paired T-cell receptors place no other cells: rules/receptor_models.smk makes them.
RECEPTOR_MODELS = {
    name: settings for name, settings in CONFIG["models"].items() if name not in MODELS
}
# Normalised and counterfactual expression, where they are asked for.
EXPRESSION, PAIRS = CONFIG.get("expression"), {}
if EXPRESSION:
    try:
        require_possible(CONFIG, LABELLED, bool(ATLAS))
        PAIRS = counterfactual_pairs(EXPRESSION["counterfactual"], DATASETS, QUERIES)
    except InputError as error:
        raise WorkflowError(str(error)) from None
# Markers by trained models, where they are asked for.
MARKERS = CONFIG.get("differential", {}).get("markers", {})
try:
    require_possible_markers(CONFIG, LABELLED, bool(ATLAS))
except InputError as error:
    raise WorkflowError(str(error)) from None
# T-cell receptors, where they are asked for, and the settings that reading them depends on.
RECEPTORS = CONFIG.get("receptors")
READING_OF_RECEPTORS = {key: (RECEPTORS or {}).get(key) for key in READING}
RESOLUTIONS = resolution_names(CONFIG)
CLUSTERED = list(MODELS) if RESOLUTIONS else []
N_LEVELS = label_levels(DATASETS, ANNOTATION, LABEL_MAP)
if ATLAS:
    N_LEVELS = ATLAS["labels"]["levels"]
ANNOTATED_MODEL = next((row.model for row in ANNOTATION if row.decided), None)
# Models are compared, and labels of datasets matched, where there are several.
LABELLED_DATASETS = [name for name, row in DATASETS.items() if row["label_keys"]]
MATCHED_MODELS = list(MODELS) if len(LABELLED_DATASETS) > 1 else []
# Cells and counts with the labels of the annotation and the label map, beside those with the labels of the datasets. So a
# new annotation trains again only what reads labels.
CELLS = "labelled_cells.parquet" if RELABELLED else "cells.parquet"
COUNTS = "labelled_counts.h5ad" if RELABELLED else "counts.h5ad"
# The cells of these counts that the jobs of a query read; or counts simulated from them, so that no cell's own leave the
# place where the atlas was made.
SIMULATED = (ATLAS or CONFIG["bundle"])["counts"] == "simulated"
SAMPLES = {
    name: name.replace("counts", "simulated" if SIMULATED else "sample")
    for name in ("counts.h5ad", "labelled_counts.h5ad")
}
FOLDS = folds(CONFIG["evaluation"])
# Labels are calibrated on the folds that hide no label.
CALIBRATION_FOLDS = calibration_folds(FOLDS)
# Models whose settings are chosen. The batches that they are chosen on calibrate nothing: their labels are too good.
TUNED, TUNED_ON, JUDGING_FOLD = {}, None, None
if CONFIG.get("tune"):
    TUNED_ON, JUDGING_FOLD = tuning_folds(CONFIG["evaluation"])
    CALIBRATION_FOLDS = [fold for fold in CALIBRATION_FOLDS if fold != TUNED_ON]
    TUNED = {} if ATLAS else CONFIG["tune"]
# What trials are made on is prepared like a fold.
PREPARED_FOLDS = FOLDS
if TUNED:
    PREPARED_FOLDS = {**FOLDS, TUNING: tuning_split(CONFIG["evaluation"])}
# What the tables of scores call the cells of a reference: the atlas, or a fold by its name.
SPLIT_NAMES = {"reference": "atlas"}
CONTROLLED = [name for name, row in QUERIES.items() if row["control"]]
# Only where the sheet names a query's own labels is there something to score.
SCORED = [name for name, row in QUERIES.items() if row["label_keys"] and LABELLED]
CONTROL_MODEL = CONFIG["deliver"]["model"]
# Whether labels have terms of the Cell Ontology.
HAS_TERMS = LABELLED and any(CONFIG["ontology"].values())
if ATLAS:
    HAS_TERMS = ATLAS["labels"].get("terms", False)
# The cells that a query is matched with: in an atlas that has grown, also those of queries.
MATCHED_COUNTS = SAMPLES[COUNTS]
if ATLAS and ATLAS.get("grown"):
    MATCHED_COUNTS = MATCHED_SAMPLE
# The queries whose cells join the next version of an atlas bundle.
GROWN = CONFIG["bundle"]["grow"]
TREE_FILES = ("tree.npz", "tree.csv", "tree.nwk")
SCORE_TABLES = ("scores", "label_scores", "reliability")
ABOUT_BUNDLE = ("title", "description", "authors", "license", "citation")
ABOUT_BUNDLE += ("intended_use", "not_for")
# A bundle has the counts of all cells where its authors want that.
COUNTS_IN_BUNDLE = [
    f"reference/{name}"
    for name in dict.fromkeys(["counts.h5ad", COUNTS])
    if CONFIG["bundle"]["counts"] == "all" and not ATLAS
]
# A resource of the rules, not a parameter: a change must not train anything again.
CHECKPOINT_SECONDS = math.ceil(60 * CONFIG["checkpoint"]["minutes"])
DESCRIBED = [m for m, spec in MODELS.items() if MODEL_TYPES[spec["type"]].has_tables]
# Models in whose latent space samples have densities.
WITH_POSTERIOR = [
    m for m, spec in MODELS.items() if MODEL_TYPES[spec["type"]].has_posterior
]
PRETRAINED = [name for name, spec in MODELS.items() if spec.get("pretrained")]
PRETRAINED_WITH_PROTEINS = [
    m for m in PRETRAINED if MODEL_TYPES[MODELS[m]["type"]].needs_proteins
]
# Models whose latent space was made elsewhere.
EMBEDDINGS = [
    m for m, spec in MODELS.items() if MODEL_TYPES[spec["type"]].made_elsewhere
]
# The spatial reference that cells of queries are placed in, where there is one.
SPATIAL = CONFIG.get("spatial")
# Sources of labels that were made elsewhere.
GIVEN_LABELS = CONFIG.get("external_labels", {})
# All sources of labels without a place for each cell.
EXTERNAL = {**GIVEN_LABELS, **(RECEPTOR_MODELS if LABELLED else {})}
# Models whose replicated counts are compared with the cells', and how many.
CRITICISM = dict(CONFIG.get("criticism", {}))
CRITICIZED = CRITICISM.pop("models", [])
# The model that scvi-hub can load, if there is any.
HUB_MODEL = None if ATLAS else hub_model(CONFIG)
WITH_PROTEINS = [name for name, row in DATASETS.items() if row["protein_key"]]
# What the reference measured, where a model reads proteins. Bundles before 0.9.1 lack it.
KNOWN_PROTEINS = "reference/measured_proteins.parquet"
PROTEINS_KNOWN = bool(models_with_proteins(CONFIG)) and (
    not ATLAS or KNOWN_PROTEINS in ATLAS["files"]
)


def one_of(names):
    """A regular expression that matches these names alone."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


# Of an atlas bundle, nothing is made but what a query needs.
MADE_FOLDS = [] if ATLAS else PREPARED_FOLDS


wildcard_constraints:
    dataset=one_of(DATASETS),
    # Not one of their names: the time of planning would grow with the square of the number of queries.
    name="[^/]+",
    model=one_of(MODELS),
    fold=one_of(MADE_FOLDS),
    split=f"reference|evaluation/({one_of(MADE_FOLDS)})",
    query=f"queries/[^/]+|evaluation/({one_of(MADE_FOLDS)})/{HELD_OUT}",


def files_of(row):
    """All files that a sheet's row names, as they are: no prefix of a module is put before the users' files. Of a file by address, its marker, whose age decides nothing."""
    tables = [local(row["metadata"])] if row["metadata"] else []
    if row.get("protein_names"):
        tables.append(local(row["protein_names"]))
    if row.get("orthologs", {}).get("table") not in (None, BUNDLED):
        tables.append(local(row["orthologs"]["table"]))
    if row.get("fetched"):
        return [ancient(marker_of(f"<results>/fetched/{row['fetched']}")), *tables]
    return [local(file) for file in input_files(row["path"])] + tables


def missing_files():
    """The keys of files by address that were not fetched yet. What was fetched counts as a file of the user: Snakemake leaves out what depends on a job that is forced, or has other parameters, where the input is ancient."""
    rows = [*DATASETS.values(), *QUERIES.values()]
    keys = [row["fetched"] for row in rows if row.get("fetched")]
    return [
        os.path.dirname(key)
        for key in [*keys, *HUB_FILES]
        if not os.path.exists(marker_of(f"{FETCHED}/{key}"))
    ]


def query_row(name):
    """The row of a query in the sheet."""
    if name not in QUERIES:
        raise WorkflowError(
            f"{name!r} is no query of {CONFIG['queries']}; add a row for it"
        )
    return QUERIES[name]


try:
    rows = [*([] if ATLAS else DATASETS.values()), *QUERIES.values()]
    require_not_in_future(file for row in rows for file in files_of(row))
except InputError as error:
    raise WorkflowError(str(error)) from None


def fingerprints_of(row):
    """Size and time of change, in seconds, of the files that a row names: a replaced file is noticed also if it is older. Not of files that a rule makes. Of a file by address, its SHA-256."""
    files = [file for file in files_of(row) if file not in DEMO.values()]
    found = {
        path: [size, t // 10**9] for path, (size, t) in fingerprints(files).items()
    }
    return found | ({row["path"]: row["sha256"]} if row.get("fetched") else {})


def reference_of(query):
    """The {split} of the reference that a {query} is mapped onto."""
    return "reference" if query.startswith("queries/") else os.path.dirname(query)


def of_reference(path):
    """A function that returns a file of the reference that a {query} is mapped onto."""
    return lambda w: f"<results>/{reference_of(w.query)}/{path}".replace(
        "{model}", w.get("model", "")
    )


def of_each(names, wildcard, paths):
    """Files of each name as inputs or outputs named "kind:name": identity never hangs on a position in a list."""
    return {
        f"{kind}:{name}": path.replace(f"{{{wildcard}}}", name)
        for kind, path in paths.items()
        for name in names
    }


def of_models(**paths):
    """A file of each kind and model."""
    return of_each(MODELS, "model", paths)


def of_datasets(**names):
    """A file of each kind and dataset."""
    folder = "<results>/reference/datasets/{dataset}"
    paths = {kind: f"{folder}/{name}" for kind, name in names.items()}
    return of_each(DATASETS, "dataset", paths)


def counts_of_model(wildcards):
    """The counts of a reference as a model needs them: those with labels only for a type that reads labels."""
    return COUNTS if reads_labels(MODELS[wildcards.model]["type"]) else "counts.h5ad"


def read_by_queries(split, counts=COUNTS):
    """The counts of a reference that its queries read: of the atlas, a sample of cells; of a fold, which has one query, all."""
    sample = split == "reference" or SIMULATED
    return f"<results>/{split}/{SAMPLES[counts] if sample else counts}"


def sampled(counts):
    """A function that returns the counts that a {query} is mapped with, of those that this function names."""
    return lambda w: read_by_queries(reference_of(w.query), counts(w))


def simulated_from(split):
    """The latent space in which cells are alike, if their counts are simulated."""
    latent = f"<results>/{split}/models/{BASELINE}/latent.parquet"
    return {"latent": latent} if SIMULATED else {}


def matched_with(wildcards):
    """The counts that a {query} is matched with."""
    split = reference_of(wildcards.query)
    grown = ATLAS and ATLAS.get("grown")
    return f"<results>/reference/{MATCHED_COUNTS}" if grown else read_by_queries(split)


def known_proteins(wildcards):
    """Which proteins the reference measured, for a {model} that reads proteins; nothing where that is not known."""
    needed = MODEL_TYPES[MODELS[wildcards.model]["type"]].needs_proteins
    return (
        {"proteins": f"<results>/{KNOWN_PROTEINS}"} if PROTEINS_KNOWN and needed else {}
    )


def if_labelled(**paths):
    """These files, if the reference has labels; nothing without them."""
    return paths if LABELLED else {}


def of_folds(folds=FOLDS, **paths):
    """A file of each kind and fold."""
    return of_each(folds, "fold", paths)


def of_queries(queries=QUERIES, **paths):
    """A file of each kind and query of the sheet."""
    return of_each(queries, "name", paths)


def settings_of(wildcards, *left_out):
    """A model's settings without those sections, so that a change of them re-runs only the rule that uses them; in folds with at most evaluation.max_epochs."""
    settings = {
        key: value
        for key, value in MODELS[wildcards.model].items()
        if key not in left_out
    }
    if MODEL_TYPES[settings["type"]].needs_systems:
        settings["systems"] = systems_of(wildcards)
    if wildcards.get("split", wildcards.get("query", "")).startswith("evaluation/"):
        settings.pop("pretrained", None)
        return limit_epochs(settings, CONFIG["evaluation"])
    return settings


def systems_of(wildcards):
    """The systems of the datasets that a model trains on, or of the one {query} that is mapped: other queries change no mapping. Of held-out cells, the model knows them."""
    name = wildcards.get("query", "").removeprefix("queries/")
    names = [name] if "query" in wildcards.keys() else DATASETS
    return {name: SYSTEMS[name] for name in names if name in SYSTEMS}


def fold_of(wildcards):
    """Which cells a fold trains on, as an input named fold; nothing for the atlas, which trains on all."""
    split = wildcards.get("split") or reference_of(wildcards.query)
    return {} if split == "reference" else {"fold": f"<results>/{split}/fold.parquet"}


def scored_cells(wildcards):
    """The cells of a query with their known labels: of held-out cells, with the labels of the reference."""
    name = CELLS if wildcards.query.startswith("evaluation/") else "cells.parquet"
    return f"<results>/{wildcards.query}/{name}"


def calibration_of(wildcards):
    """What was learned on the folds; nothing without folds."""
    return {"calibration": "<results>/evaluation/calibration.json"} if FOLDS else {}


def calibration_of_quick():
    """What calibrate_quick learned on the folds; nothing without folds."""
    return "<results>/evaluation/quick/calibration.json" if FOLDS else []


def of_matched(folder, suffix=""):
    """The matched baseline's results below a folder."""
    names = {
        "labels": "labels.parquet",
        "measures": "measures.parquet",
        "agreement": "agreement.json",
    }
    return {
        f"matched_{kind}{suffix}": f"{folder}/matched/{name}"
        for kind, name in names.items()
    }


def mapqc_of(wildcards):
    """How far a query's controls are from the reference, and held-out cells from a fold's; nothing for a query without controls."""
    if wildcards.name not in CONTROLLED:
        return {}
    return {
        "mapqc": "<results>/queries/{name}/mapqc.json",
        **of_folds(
            CALIBRATION_FOLDS,
            mapqc=f"<results>/evaluation/{{fold}}/{HELD_OUT}/mapqc.json",
        ),
    }


def species_of(wildcards):
    """What a query's file says of its genes, if it is of a species that no dataset with labels is of; else nothing: where one is, held-out cells are of it, too. Queries that have joined an atlas took no part in its calibration."""
    own = CONFIG.get("species")
    joined = [part["query"] for part in (ATLAS or {}).get("grown", [])]
    labelled = DATASETS if ANNOTATION else LABELLED_DATASETS or DATASETS
    known = {SPECIES.get(name, own) for name in labelled if name not in joined}
    if SPECIES.get(wildcards.name, own) in {None, *known}:
        return {}
    return {"foreign": "<results>/queries/{name}/check.json"}


def contrast_pages():
    """The pages of the contrasts in the report."""
    return expand("<results>/report/contrasts/{contrast}.html", contrast=CONTRASTS)


def of_compared(datasets=None, queries=None, with_files=True):
    """A function that returns a file of each kind, dataset and query of a {contrast}, with those that its rows name."""

    def files(wildcards):
        of_contrast = COMPARED[wildcards.contrast]
        rows = [DATASETS[name] for name in of_contrast[0]]
        rows += [QUERIES[name] for name in of_contrast[1]]
        folder = "<results>/reference/datasets/{dataset}"
        return {
            **of_each(
                of_contrast[0],
                "dataset",
                {
                    f"dataset_{kind}": f"{folder}/{name}"
                    for kind, name in datasets.items()
                },
            ),
            **of_each(
                of_contrast[1],
                "name",
                {
                    f"query_{kind}": f"<results>/queries/{{name}}/{name}"
                    for kind, name in queries.items()
                },
            ),
            **(
                {"files": [file for row in rows for file in files_of(row)]}
                if with_files
                else {}
            ),
        }

    return files


def compared_sources(wildcards):
    """The folders of the results that have the cells of a {contrast}: of the reference, and of queries."""
    datasets, queries = COMPARED[wildcards.contrast]
    return [
        *(["reference"] if datasets else []),
        *(f"queries/{name}" for name in queries),
    ]


def compared_features(wildcards):
    """The tables of a {model}, of the reference and the queries of a {contrast}; of proteins the counts, too."""
    sources = compared_sources(wildcards)
    found = {
        f"tables:{source}": f"<results>/{source}/models/{wildcards.model}/tables"
        for source in sources
    }
    if kind_of_features(wildcards) == "proteins":
        found |= {
            f"counts:{source}": f"<results>/{source}/counts.h5ad" for source in sources
        }
    return found


def kind_of_features(wildcards):
    """What the tables of a {model} hold for contrasts: programs or proteins."""
    return MODEL_TYPES[MODELS[wildcards.model]["type"]].compared


def features_of_contrast(wildcards):
    """What a {contrast} finds among programs and proteins, by kind of file and model."""
    folder = "<results>/differential/{contrast}/models/{model}/features."
    endings = {"features": "csv", "feature_notes": "json", "feature_figure": "png"}
    return of_each(
        FEATURES[wildcards.contrast],
        "model",
        {
            kind: folder.replace("{contrast}", wildcards.contrast) + ending
            for kind, ending in endings.items()
        },
    )


def density_models(wildcards):
    """A {model}, its counts and latent space, of the reference and the queries of a {contrast}."""
    folder, found = f"models/{wildcards.model}", {}
    for source in compared_sources(wildcards):
        own = counts_of_model(wildcards) if source == "reference" else "counts.h5ad"
        found[f"counts:{source}"] = f"<results>/{source}/{own}"
        found[f"model:{source}"] = f"<results>/{source}/{folder}/model.pt"
        found[f"latent:{source}"] = f"<results>/{source}/{folder}/latent.parquet"
    return found


def density_umaps(wildcards):
    """The UMAPs of a {model}, of the reference and the queries of a {contrast}."""
    return {
        f"umap:{source}": f"<results>/{source}/models/{wildcards.model}/umap.parquet"
        for source in compared_sources(wildcards)
    }


def density_of_contrast(wildcards):
    """The densities of a {contrast} by kind of file; nothing without a model for them."""
    model = DENSITIES[wildcards.contrast]
    if model is None:
        return {}
    folder = f"<results>/differential/{wildcards.contrast}/models/{model}"
    return {
        "density": f"{folder}/density.csv",
        "density_notes": f"{folder}/density.json",
        "density_figure": f"{folder}/density.png",
    }


def compared_rows(wildcards):
    """The rows of the sheets of a {contrast}: of its datasets, and of its queries."""
    datasets, queries = COMPARED[wildcards.contrast]
    return {
        "datasets": {name: DATASETS[name] for name in datasets},
        "queries": {name: QUERIES[name] for name in queries},
    }


def criticism_of(wildcards):
    """The posterior predictive checks of a query, and those that it is compared with; nothing without criticism."""
    if not CRITICIZED:
        return {}
    path = f"<results>/queries/{wildcards.name}/models/{{model}}/criticism.csv"
    return {
        **of_each(CRITICIZED, "model", {"criticism": path}),
        "usual_criticism": "<results>/evaluation/criticism.csv",
    }


def of_criticized_queries():
    """The posterior predictive checks of all queries by each model, and their figures."""
    names = {"query_table": "criticism.csv", "query_figure": "criticism.png"}
    return {
        f"{kind}:{name}:{model}": f"<results>/queries/{name}/models/{model}/{file}"
        for kind, file in names.items()
        for name in QUERIES
        for model in CRITICIZED
    }


def figures_of_criticism():
    """The figures of the reference's posterior predictive checks; none with an atlas bundle, which lacks them."""
    path = "<results>/reference/models/{model}/criticism.png"
    return {} if ATLAS else of_each(CRITICIZED, "model", {"figure": path})


def criticism_page():
    """The page of posterior predictive checks, if there are any."""
    return {"criticism": "<results>/report/criticism.html"} if CRITICIZED else {}


def require_labels():
    """Refuse to plan labels of queries that no reference can give."""
    if not LABELLED:
        raise WorkflowError(
            "queries get the labels of the reference, and it has none; set label_key for a dataset, or annotate the "
            "clusters"
        )


def labels_of_queries(wildcards=None):
    """The labels of all queries."""
    if QUERIES:
        require_labels()
    return expand("<results>/queries/{name}/labels.csv", name=QUERIES)


def first_labels_of_queries(wildcards=None):
    """The first labels of all queries, by the matched baseline."""
    if QUERIES:
        require_labels()
    return expand("<results>/queries/{name}/quick/labels.csv", name=QUERIES)


def changes_of_first_labels():
    """What the models changed of the first labels, of the queries that have got such."""
    place = workflow.modifier.modify_path(workflow.pathvars.apply("<results>"))
    answered = [
        name
        for name in QUERIES
        if LABELLED and os.path.exists(f"{place}/queries/{name}/quick/labels.csv")
    ]
    return expand("<results>/queries/{name}/quick/changes.csv", name=answered)


def templates():
    """The tables for people to fill in, with what they need for it; none with an atlas bundle."""
    if ATLAS:
        return []
    folder = "<results>/reference/models/{model}"
    return [
        *expand(
            f"{folder}/annotation/{{resolution}}.tsv",
            model=CLUSTERED,
            resolution=RESOLUTIONS,
        ),
        *expand(f"{folder}/markers.csv", model=CLUSTERED),
        *expand(f"{folder}/label_map_template.tsv", model=MATCHED_MODELS),
    ]


def updated_trees():
    """The label trees that labelled queries have extended."""
    return expand(
        "<results>/queries/{name}/{model}_tree.nwk",
        name=CONFIG["tree"]["update"],
        model=CONFIG["tree"]["models"],
    )


def groups_of_markers(wildcards):
    """The markers of the plain test that those of a {model} are compared with, and the clusters where these are the groups."""
    if wildcards.grouping == "labels":
        return {"plain": "<results>/reference/label_markers.parquet"}
    folder = f"<results>/reference/models/{wildcards.model}"
    return {
        "plain": f"{folder}/markers.parquet",
        "clusters": f"{folder}/clusters.parquet",
        "stability": f"{folder}/cluster_stability.csv",
    }


def of_model_markers(**names):
    """A file of each kind, model and grouping of the markers by models, named "kind:model:grouping"."""
    folder = "<results>/reference/models/{}/model_markers"
    return {
        f"{kind}:{model}:{grouping}": f"{folder}/{name}".format(
            model, grouping=grouping
        )
        for kind, name in names.items()
        for model in MARKERS["models"]
        for grouping in MARKERS["groups"]
    }


def page_of_model_markers():
    """Their page; nothing where they are not asked for."""
    return ["<results>/report/model_markers.html"] if MARKERS else []


def of_receptor_models():
    """What the page of clonotypes waits for of models of paired receptors: their places of all cells, and scores."""
    folder = "receptor_models/{receptor_model}/latent.parquet"
    found = {
        f"latent:{name}:{source}": f"<results>/{source}/{folder}".replace(
            "{receptor_model}", name
        )
        for name in RECEPTOR_MODELS
        for source in ["reference", *(f"queries/{query}" for query in QUERIES)]
    }
    if RECEPTOR_MODELS and FOLDS:
        found["scores"] = "<results>/evaluation/receptor_models.csv"
    return found


def page_of_clonotypes():
    """The page of clonotypes; nothing where receptors are not asked for."""
    return ["<results>/report/clonotypes.html"] if RECEPTORS else []


def query_in(pair):
    """The query that one or both batches of a pair belong to, if any."""
    return pair["from_query"] or pair["to_query"]


def files_of_expression():
    """The files of normalised and counterfactual expression that the configuration asks for."""
    found = [f"<results>/counterfactual/{pair}/expression.h5ad" for pair in PAIRS]
    if EXPRESSION and EXPRESSION["normalized"]:
        found += [] if ATLAS else ["<results>/expression/reference.h5ad"]
        found += [f"<results>/expression/queries/{name}.h5ad" for name in QUERIES]
    return found


def tables_of_pairs():
    """The tables of each pair of batches, by kind."""
    names = {"support": "support.csv", "changes": "changes.csv"}
    names |= {"errors": "error.csv"} if EXPRESSION["checks"] else {}
    return {
        kind: f"<results>/counterfactual/{{pair}}/{name}"
        for kind, name in names.items()
    }


def page_of_expression():
    """Its page, which shows all of that; nothing where it is not asked for."""
    return ["<results>/report/expression.html"] if EXPRESSION else []


def files_of_spatial():
    """The files of the spatial reference."""
    return files_of({"path": SPATIAL["path"], "metadata": None})


def fingerprints_of_spatial():
    """Size and time of change of these files, as of a dataset's."""
    return fingerprints_of({"path": SPATIAL["path"], "metadata": None})


def settings_of_spatial(*names):
    """Some settings of the section, so that a change re-runs only the rules that use them."""
    return {name: SPATIAL[name] for name in names}


def types_of_query():
    """The delivered labels of a query, by which types are counted; nothing without labels."""
    return if_labelled(delivered="<results>/queries/{name}/delivered.parquet")


def page_of_spatial():
    """Its page; nothing without a spatial reference."""
    return ["<results>/report/spatial.html"] if SPATIAL else []


def indices_of(wildcards):
    """The index of each model's reference, and the latent space that it was made of."""
    require_labels()
    folder = f"<results>/{reference_of(wildcards.query)}/models/{{model}}"
    return of_models(index=f"{folder}/index.npz", reference=f"{folder}/latent.parquet")


def reported(wildcards):
    """What the index of the report shows, named by dataset, query and fold."""
    return {
        **calibration_of(wildcards),
        **criticism_page(),
        **tuning_page(),
        **of_datasets(scan="scan.json"),
        **of_queries(summary="<results>/queries/{name}/summary.json"),
        **of_folds(fold="<results>/evaluation/{fold}/fold.json"),
        "genes": "<results>/reference/genes.parquet",
        "transfer": "<results>/evaluation/transfer.csv",
        "transfer_figure": "<results>/evaluation/transfer.png",
    }


def shown_of_reference(wildcards):
    """What the page of the reference shows beyond its cells, named by dataset, kind and model."""
    folder = "<results>/reference/models/{model}"
    return {
        **of_datasets(scan="scan.json"),
        **of_models(
            training=f"{folder}/training.csv",
            training_figure=f"{folder}/training.png",
            umap_figure=f"{folder}/umap.png",
        ),
        **of_annotation(),
        **of_each(DESCRIBED, "model", {"tables": f"{folder}/tables"}),
        **of_each(CONFIG["tree"]["models"], "model", {"tree": f"{folder}/tree.png"}),
        "integration": "<results>/evaluation/integration.csv",
    }


def shown_of_query(wildcards):
    """What the page of a query shows beyond its cells, named by kind and model."""
    query = f"<results>/queries/{wildcards.name}"
    found = {f"mapping:{m}": f"{query}/models/{m}/mapping.json" for m in MODELS}
    found |= {f"tables:{m}": f"{query}/models/{m}/tables" for m in DESCRIBED}
    if LABELLED:
        names = ("labels.csv", "verdict.json", "sources.json")
        found |= {name.split(".")[0]: f"{query}/{name}" for name in names}
        found["source_labels"] = f"{query}/sources.parquet"
        found |= votes_of_external(wildcards)
    if LABELLED and CLUSTERED:
        found["novel_groups"] = f"{query}/novel_groups.csv"
        found["novel_cells"] = f"{query}/novel_cells.csv"
        found["novel_figure"] = f"{query}/novel_markers.png"
    if wildcards.name in SCORED:
        found["scores"] = f"{query}/scores.csv"
        found["confusion"] = f"{query}/confusion.csv"
        if RELABELLED:
            found["known_labels"] = f"{query}/known_labels.json"
    return found


def suggestion_files():
    """The users' files that names of clusters are suggested from."""
    found = CONFIG["suggestions"]
    return [local(f) for f in [found["markers"], *found["labels"].values()] if f]


def hub_model_files(wildcards):
    """What the model for scvi-hub is made of."""
    if HUB_MODEL is None:
        raise WorkflowError(
            "config: models: none is of type scvi or scanvi, which scvi-hub can load; publish without make_hub_model"
        )
    counts = COUNTS if reads_labels(MODELS[HUB_MODEL]["type"]) else "counts.h5ad"
    model = f"<results>/reference/models/{HUB_MODEL}/model.pt"
    return {"model": model, "counts": f"<results>/reference/{counts}"}


def published_files(service):
    """A function that returns what is published: refused without settings of where."""

    def files(wildcards):
        try:
            publish_settings(CONFIG, service)
        except InputError as error:
            raise WorkflowError(str(error)) from None
        names = {"tar": "atlas.tar", "manifest": "bundle.json", "card": "README.md"}
        if service == "huggingface" and HUB_MODEL is not None:
            names["hub"] = "hub"
        return {kind: f"<results>/bundle/{name}" for kind, name in names.items()}

    return files


def publication(service):
    """What a job of publishing writes: apart in dry mode, which publishes nothing."""
    kind = "dry_run" if CONFIG["publish"]["dry_run"] else "published"
    return f"<results>/bundle/{kind}_{service}.json"


def tree_of(wildcards):
    """The tree of labels in a model's latent space, if the config asks for one of the datasets' own labels."""
    if RELABELLED or wildcards.model not in CONFIG["tree"]["models"]:
        return {}
    folder = f"<results>/reference/models/{wildcards.model}"
    return {"tree": f"{folder}/tree.csv", "newick": f"{folder}/tree.nwk"}


def clusters_of_annotation():
    """The clusters that the annotation names; nothing without one."""
    if not ANNOTATED_MODEL:
        return {}
    folder = f"<results>/reference/models/{ANNOTATED_MODEL}"
    return {"clusters": f"{folder}/clusters.parquet"}


def terms_of_labels():
    """The terms of the labels in the Cell Ontology, where these are asked for."""
    return {"terms": "<results>/reference/ontology.csv"} if HAS_TERMS else {}


def written_by_people():
    """The annotation and the label map, where there are any."""
    paths = {kind: CONFIG[kind] for kind in ("annotation", "label_map")}
    return {kind: local(path) for kind, path in paths.items() if path}


def clusters_of_model():
    """The clusters of a model's latent space, and how stable they are; nothing without clusters."""
    folder = "<results>/reference/models/{model}"
    names = {"clusters": "clusters.parquet", "stability": "cluster_stability.csv"}
    return {kind: f"{folder}/{name}" for kind, name in names.items() if CLUSTERED}


def of_annotation():
    """What the report shows of clusters, markers, suggested names and the annotation."""
    folder = "<results>/reference/models/{model}"
    found = of_each(
        CLUSTERED,
        "model",
        {
            "stability": f"{folder}/cluster_stability.csv",
            "cluster_figure": f"{folder}/clusters.png",
            "clusters": f"{folder}/clusters.csv",
            "suggestions": f"{folder}/suggestions.csv",
            "markers": f"{folder}/markers.csv",
            "dot_plot": f"{folder}/markers.png",
        },
    )
    found |= of_each(
        MATCHED_MODELS,
        "model",
        {
            "agreement_figure": f"{folder}/label_agreement.png",
            "agreement": f"{folder}/label_agreement.csv",
        },
    )
    if LABELLED:
        found["label_dot_plot"] = "<results>/reference/label_markers.png"
    if RELABELLED:
        found["annotation"] = "<results>/reference/annotation.json"
    if CLUSTERED:
        found["choice"] = "<results>/evaluation/models.csv"
        found["choice_figure"] = "<results>/evaluation/models.png"
    return found


def gpus_of(wildcards):
    """One GPU for a type that can use it, none for the others."""
    return int(MODEL_TYPES[MODELS[wildcards.model]["type"]].uses_gpu)


def processes_of(wildcards):
    """How many processes train a model together, each on a GPU of its own."""
    return MODELS[wildcards.model].get("gpus", 1)


def training_gpus_of(wildcards):
    """A GPU for each of these processes."""
    return gpus_of(wildcards) * processes_of(wildcards)


def trial_settings(wildcards):
    """The settings of a tuned model's trials as the configuration has them: those of folds."""
    return limit_epochs(settings_of(wildcards), CONFIG["evaluation"])


def trials_of(wildcards):
    """The trials of a model's settings, by number."""
    folder = f"<results>/tuning/{wildcards.model}/trials/{{trial}}"
    numbers = [str(i) for i in range(TUNED[wildcards.model]["trials"])]
    names = {"trial": "trial.json", "labels": "labels.parquet"}
    return of_each(
        numbers, "trial", {kind: f"{folder}/{name}" for kind, name in names.items()}
    )


def list_of_trials():
    """The numbers of all trials, of the model with most of them."""
    return [str(i) for i in range(max(entry["trials"] for entry in TUNED.values()))]


def chosen_settings(wildcards):
    """The chosen settings of a model; nothing of a model that is not tuned."""
    if wildcards.model not in TUNED:
        return {}
    try:
        chosen = checkpoints.choose_setting.get(model=wildcards.model)
    except IncompleteCheckpointException as error:
        # Further trials alone train nothing again: once the choice is made, Snakemake asks anew, and compares its content
        # with what was trained with. Without a choice, the model waits for it.
        error.targetfile = ancient(error.targetfile)
        raise
    return {"tuned": chosen.output.best}


def compared_with_defaults(wildcards):
    """The choice of settings, and labels of held-out cells by the defaults and the chosen ones, unless both are the same."""
    best = checkpoints.choose_setting.get(model=wildcards.model).output.best
    found = {"best": best}
    if read_json(best)["settings"]:
        held_out = f"<results>/evaluation/{JUDGING_FOLD}/{HELD_OUT}"
        found["defaults"] = "<results>/tuning/{model}/defaults/labels.parquet"
        found["defaults_trial"] = "<results>/tuning/{model}/defaults/trial.json"
        found["tuned"] = f"{held_out}/models/{{model}}/labels.parquet"
        found["cells"] = f"{held_out}/{CELLS}"
    return found


def tuning_page():
    """The page of tuning, if models are tuned."""
    return {"tuning": "<results>/report/tuning.html"} if TUNED else {}


def pretrained_files(model):
    """The files of a pretrained model; of one by address, the marker, whose age decides nothing."""
    spec = MODELS[model]
    files = MODEL_TYPES[spec["type"]].saved_files(spec["pretrained"]["path"])
    fetched = [key for key in HUB_FILES if f"{FETCHED}/{key}" in files]
    if fetched:
        return [ancient(marker_of(f"<results>/fetched/{key}")) for key in fetched]
    return [local(file) for file in files]


def start_of(wildcards):
    """What training starts from: the model that init_from names (input base), or a pretrained one (input pretrained), which no fold can take: it has seen all cells. Of a pretrained model with programs, a fold takes these (input known)."""
    base, pretrained = (
        MODELS[wildcards.model].get(key) for key in ("init_from", "pretrained")
    )
    if pretrained and wildcards.split == "reference":
        return {"pretrained": pretrained_files(wildcards.model)}
    if (
        pretrained
        and MODEL_TYPES[MODELS[wildcards.model]["type"]].compared == "programs"
    ):
        return {
            "known": f"<results>/reference/models/{wildcards.model}/pretrained.json"
        }
    return (
        {"base": f"<results>/{wildcards.split}/models/{base}/model.pt"} if base else {}
    )


def known_embeddings(wildcards):
    """The embeddings of a model's reference cells; none of other models, nor with an atlas bundle, which has the latent space alone."""
    if ATLAS or wildcards.model not in EMBEDDINGS:
        return {}
    return of_datasets(embedding=f"embeddings/{wildcards.model}.parquet")


def embeddings_of_query(wildcards):
    """The embedding of a {query}, which are cells of datasets if a fold holds them out; none of other models."""
    if wildcards.model not in EMBEDDINGS:
        return {}
    if not wildcards.query.startswith("queries/"):
        return known_embeddings(wildcards)
    return {
        "embedding:query": f"<results>/{wildcards.query}/embeddings/{wildcards.model}.parquet"
    }


def of_external(folder):
    """The votes of each source of labels that were made elsewhere, below a folder of cells."""
    path = f"{folder}/external/{{external}}/labels.parquet"
    return of_each(EXTERNAL, "external", {"external": path})


def votes_of_external(wildcards):
    """How many cells of a query vote by each source of labels that were made elsewhere."""
    path = f"<results>/queries/{wildcards.name}/external/{{external}}/votes.json"
    return of_each(EXTERNAL, "external", {"votes": path})


def reading_of(source):
    """The settings by which labels that were made elsewhere are read."""
    return {
        key: GIVEN_LABELS[source][key] for key in ("key", "probabilities", "labels")
    }


def given_labels(wildcards):
    """The labels of a {query}'s cells as they were made elsewhere; these are cells of datasets if a fold holds them out."""
    name = f"external/{wildcards.external}/given.parquet"
    if not wildcards.query.startswith("queries/"):
        return of_datasets(given=name)
    return {"given:query": f"<results>/{wildcards.query}/{name}"}


def setting_files_of(wildcards):
    """The files that a model's settings name."""
    settings = MODELS[wildcards.model]
    files = MODEL_TYPES[settings["type"]].files_in(settings).values()
    return [local(file) for file in files]


# Groups take a third more time to plan, so they are formed only where a profile asks for them, as profiles/slurm does.
GROUPED = "shared_submissions" in (workflow.resource_settings.default_resources or {})


def shared(group):
    """The group of a rule's jobs, where groups are formed: a name, or a function that returns one."""
    return group if GROUPED else None


# Small jobs that depend on each other share one submission to a cluster. Jobs on a GPU are submitted alone: no GPU waits
# for a CPU. A workstation ignores groups.
# If one job of a group fails, Snakemake removes the results of all of them. Therefore jobs that refuse bad files are in
# no group. At the end of a group, Snakemake renews the file times of its results. Therefore make_demo is in no group:
# scan_dataset records the file times of its input.
def trains_on_gpu(wildcards):
    """Whether a job trains or maps a model on a GPU."""
    return bool(gpus_of(wildcards))


def group_of_split(wildcards):
    """The jobs that prepare the counts of a reference: of the atlas, or of one fold."""
    split = wildcards.get("split") or f"evaluation/{wildcards.fold}"
    return f"prepare_{os.path.basename(split)}"


def group_of_fold(wildcards):
    """The jobs from a fold's reference to the labels of its held-out cells by each source; none for the atlas."""
    fold = wildcards.get("fold")
    split = wildcards.get("split") or fold or reference_of(wildcards.query)
    if split == "reference":
        return None
    # A single fold shares the submission of the calibration.
    return "evaluation" if len(FOLDS) == 1 else f"map_{os.path.basename(split)}"


def group_of_query(wildcards):
    """The jobs from a query's latent spaces to its labels; of held-out cells, to those by each source."""
    query = wildcards.get("query") or f"queries/{wildcards.name}"
    if query.startswith("evaluation/"):
        return group_of_fold(wildcards)
    return f"query_{query.removeprefix('queries/')}"


def group_of_clusters(wildcards):
    """The jobs from a model's latent space of the reference to its UMAP, its clusters and their names."""
    return f"clusters_{wildcards.model}"


def group_of_figures(wildcards):
    """That of the clusters; none for the model that is annotated: the labels in its figure wait for its clusters."""
    return None if wildcards.model == ANNOTATED_MODEL else group_of_clusters(wildcards)


def group_of_labels(wildcards):
    """That of the fold's counts; none for the atlas, whose labels wait for a model that waits for its counts."""
    return None if wildcards.split == "reference" else group_of_split(wildcards)


def group_of_delivery(wildcards):
    """That of the query; none where a verdict may stop the run, because a failed group loses the verdict as well."""
    return group_of_query(wildcards) if CONFIG["verdict"]["stop"] == "never" else None


def group_of_scores(wildcards):
    """That of the query; of held-out cells, that of the calibration."""
    return (
        "evaluation"
        if wildcards.query.startswith("evaluation/")
        else group_of_query(wildcards)
    )


def group_of_report(wildcards):
    """What gathers the results of all queries; none with many queries: planning would take the square of their number."""
    return "report" if len(QUERIES) <= 20 else None


def unless_on_gpu(group):
    """A function that returns that group for a model without use for a GPU, and none for the others."""
    return lambda w: None if trains_on_gpu(w) else group(w)


def bundled_files():
    """The results of the reference that the jobs of queries read, below the folder of the results."""
    model, dataset, fold = (
        "reference/models/{}/{}",
        "reference/datasets/{}/{}",
        "evaluation/{}/{}",
    )
    of_model = ["model.pt", "model.pt.sha256", "model.json", "training.md"]
    of_model += ["latent.parquet", "umap.parquet"]
    of_model += ["index.npz"] if LABELLED else []
    of_model += ["cluster_stability.csv"] if CLUSTERED else []
    found = ["reference/genes.parquet", "reference/background.parquet"]
    samples = [SAMPLES["counts.h5ad"], SAMPLES[COUNTS], MATCHED_COUNTS]
    found += [f"reference/{name}" for name in dict.fromkeys(samples)]
    found += ["report/reference.html", "evaluation/integration.csv"]
    found += ["reference/ontology.csv"] if HAS_TERMS else []
    found += [KNOWN_PROTEINS] if PROTEINS_KNOWN else []
    found += [model.format(m, name) for m in MODELS for name in of_model]
    found += [
        model.format(m, name) for m in CONFIG["tree"]["models"] for name in TREE_FILES
    ]
    of_dataset = dict.fromkeys(["scan.json", "cells.parquet", CELLS])
    found += [dataset.format(d, name) for d in DATASETS for name in of_dataset]
    if FOLDS:
        found += ["evaluation/calibration.json", "evaluation/quick/calibration.json"]
    of_fold = ["fold.json"]
    of_fold += [f"{HELD_OUT}/{name}.csv" for name in SCORE_TABLES]
    found += [fold.format(f, name) for f in FOLDS for name in of_fold]
    of_fold = [f"{HELD_OUT}/{name}" for name in ("measures.json", "mapqc.json")]
    found += [fold.format(f, name) for f in CALIBRATION_FOLDS for name in of_fold]
    found += ["evaluation/criticism.csv"] if CRITICIZED else []
    return found + COUNTS_IN_BUNDLE


def facts_of_bundle():
    """What a bundle says of itself beside its files: names, settings, labels and models."""
    about = CONFIG["bundle"]
    return {
        "name": about["name"],
        "version": about["version"],
        **{key: about[key] for key in ABOUT_BUNDLE},
        "settings": settings_to_keep(CONFIG),
        "datasets": {
            name: {
                **{key: row[key] for key in ("label_keys", "protein_key")},
                **({"species": SPECIES[name]} if name in SPECIES else {}),
            }
            for name, row in DATASETS.items()
        },
        "labels": {
            "labelled": LABELLED,
            "relabelled": RELABELLED,
            "levels": N_LEVELS,
            "terms": HAS_TERMS,
        },
        "models": {name: settings["type"] for name, settings in MODELS.items()},
        "counts": about["counts"],
    }


def about_grown_bundle():
    """What the configuration says anew of an atlas that grows, as a parameter; none where it says nothing."""
    section = config.get("bundle")
    given = section if isinstance(section, dict) else {}
    about = {
        key: CONFIG["bundle"][key] for key in ("name", *ABOUT_BUNDLE) if key in given
    }
    return {"about": about} if about else {}


def identity_of_atlas():
    """Which bundle queries are mapped onto, as a parameter; none without one."""
    if not ATLAS:
        return {}
    names = {key: ATLAS[key] for key in ("name", "version", "title")}
    return {"atlas": {**names, "digest": digest_of(ATLAS)}}


def reference_for_people():
    """The reference's file of cells; none with an atlas bundle, which lacks the counts of most cells."""
    return [] if ATLAS else ["<results>/reference/reference.h5ad"]


def joined_file(wildcards):
    """The file of the reference and all queries together."""
    if ATLAS:
        raise WorkflowError(
            "target atlas joins the counts of the reference with those of queries, and an atlas bundle lacks those of most cells; run it where the atlas was made"
        )
    return "<results>/atlas/atlas.h5ad"


def bundle_file(wildcards):
    """The file of the atlas bundle; with a bundle, of its next version."""
    if ATLAS and not GROWN:
        raise WorkflowError(
            "target bundle of an atlas bundle writes its next version; name labelled queries in bundle.grow"
        )
    if ATLAS:
        require_labels()
        if CONFIG["bundle"]["version"] == ATLAS["version"]:
            raise WorkflowError(
                f"config: bundle: version: {ATLAS['version']!r} is that of the atlas itself; give the next version another one"
            )
    return "<results>/bundle/atlas.tar"


try:
    # The names of the datasets and queries whose cells take part in each contrast.
    COMPARED = {
        name: contrast_sources(
            name, contrast, [] if ATLAS else DATASETS, QUERIES, LABELLED
        )
        for name, contrast in CONTRASTS.items()
    }
except InputError as error:
    raise WorkflowError(str(error)) from None

if ATLAS:
    try:
        require_files(ATLAS, bundled_files())
    except InputError as error:
        raise WorkflowError(str(error)) from None
