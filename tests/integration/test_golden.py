"""Results and revisions: results stay the same while revisions do; an upgrade computes only what its revisions name.

`make golden` records the values of raised revisions (REFATLAS_RECORD_GOLDEN=1).
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from conftest import REPO, planned, snakemake
from golden.values import compare, record
from refatlas.revisions import REVISIONS

# Results of these hold times and places, depend on a file that only test_pretrained.py makes, or are a figure alone.
NOT_COMPARED = {"record_provenance", "write_report", "read_pretrained", "draw_reference"}
# They show what other rules' results have, or hold cells of the counts.
NOT_COMPARED |= {"write_reference_page", "write_query_page", "write_project_log", "sample_reference"}
# The first answer is no part of a whole run; test_quick.py compares it with that.
NOT_COMPARED |= {"calibrate_quick", "deliver_quick", "compare_quick"}
# They copy files as they are; test_bundle.py, test_fetch.py, test_hub_model.py and test_publish.py look at the copies.
NOT_COMPARED |= {"write_bundle", "unpack_atlas", "grow_atlas", "fetch_file", "make_hub_model"}
NOT_COMPARED |= {"publish_huggingface", "publish_zenodo"}
# Of runs that ask for terms of the Cell Ontology: test_ontology.py.
NOT_COMPARED |= {"find_terms"}
# Of runs with a model of type embedding: test_embedding_run.py.
NOT_COMPARED |= {"read_embedding"}
# Of runs with labels that were made elsewhere: test_external_labels_run.py.
NOT_COMPARED |= {"read_external_labels", "match_external_labels"}
# Of runs that ask for contrasts: test_contrasts.py.
NOT_COMPARED |= {"plan_contrast", "compare_conditions", "compare_abundance", "write_contrast_page"}
NOT_COMPARED |= {"compare_features", "compare_density", "draw_density"}
# Of runs that check models: test_criticism.py and test_criticized_models.py.
NOT_COMPARED |= {"criticize_reference", "criticize_query", "collect_criticism", "write_criticism_page"}
# Of runs that ask for expression by a model: test_counterfactual_run.py.
NOT_COMPARED |= {"check_expression", "normalize_expression", "predict_counterfactual", "check_counterfactual"}
NOT_COMPARED |= {"write_expression_page"}
# Of runs that tune models: test_tuning_run.py.
NOT_COMPARED |= {"run_trial", "choose_setting", "measure_gain", "write_tuning_page"}
# Of runs that ask for markers by models: test_model_markers_run.py.
NOT_COMPARED |= {"find_model_markers", "write_model_marker_page"}
# Of runs with a spatial reference: test_spatial_run.py.
NOT_COMPARED |= {"read_spots", "learn_regions", "place_query", "write_spatial_page"}
# Of runs with T-cell receptors: test_clonotypes_run.py.
NOT_COMPARED |= {"read_receptors", "find_clonotypes", "write_clonotype_page"}
# Of runs with models of paired receptors: test_mvtcr.py.
NOT_COMPARED |= {"train_receptor_model", "map_receptor_model", "label_by_receptor_model", "compare_receptor_models"}
# Of runs with proteins: test_totalvi.py.
NOT_COMPARED |= {"list_proteins"}
TRAINED = {"train_reference", "map_query", "describe_reference", "describe_query"}
# The baseline's results are deterministic up to rounding; trained models also depend on the processor.
TOLERANCES = {"baseline": 1e-3, "trained": 0.05}
RECORDING = bool(os.environ.get("REFATLAS_RECORD_GOLDEN"))
# Names that the labels have already: results are those of the labels, by the way of a label map.
LABEL_MAP = "dataset\tlabel\tname\tname_2\nblood\tNK\tNK\tT and NK\nspleen\tB\tB\tB lineage\n"
TREE = "((helper T,cytotoxic T,NK)T and NK,(B,plasma)B lineage,(monocyte,dendritic,platelet)myeloid);"


# With newer instructions, numpy's logarithm has another last bit, and its sort another order of equal values. After
# loess, both change which genes are selected, as they do in scanpy. OpenBLAS adds its own rounding.
SAME_EVERYWHERE = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Nehalem",
}


@pytest.fixture(scope="module", autouse=True)
def same_instructions():
    """Let all jobs use instructions that every processor of x86-64 has."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SAME_EVERYWHERE.items():
            patch.setenv(name, value)
        yield


def write_demo_sheets(folder: Path, **config) -> None:
    """Configure the demo's data, with controls, known labels and a user's tree of labels."""
    shutil.copytree(REPO / "config", folder / "config")
    queries = pd.read_csv(folder / "config/queries.tsv", sep="\t").assign(control=["batch=donor_7", ""])
    queries.to_csv(folder / "config/queries.tsv", sep="\t", index=False)
    (folder / "tree.nwk").write_text(TREE)
    settings = yaml.safe_load((folder / "config/config.yaml").read_text())
    settings["integration"] = {"max_cells": 1000, "metrics": ["kmeans_nmi", "ilisi", "clisi", "graph_connectivity"]}
    (folder / "config.yaml").write_text(yaml.safe_dump({**settings, **config}))


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """A finished run of all rules with the baseline alone, whose results are deterministic."""
    folder = tmp_path_factory.mktemp("baseline")
    tree = {"models": ["linear"], "file": "tree.nwk", "update": ["inflamed"]}
    (folder / "label_map.tsv").write_text(LABEL_MAP)
    write_demo_sheets(folder, models={"linear": {"type": "linear"}}, tree=tree, label_map="label_map.tsv")
    snakemake(folder, "--cores", "2", "all", "atlas")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two models trained and mapped for two epochs, with their tables."""
    folder, short = tmp_path_factory.mktemp("trained"), {"max_epochs": 2}
    models = {
        "scvi": {"type": "scvi", "train": short, "surgery": short},
        "prototypes": {"type": "scpoli", "pretrain": short, "train": short, "surgery": short},
    }
    write_demo_sheets(folder, models=models, evaluation={"folds": 0})
    tables = [f"results/{place}/models/prototypes/tables" for place in ("reference", "queries/panel")]
    snakemake(folder, "--cores", "2", *tables, "results/queries/panel/models/scvi/mapping.json")
    return folder


@pytest.mark.parametrize(("kind", "rules"), [("baseline", None), ("trained", TRAINED)])
def test_results_change_only_with_their_revision(kind, rules, request):
    folder, compared = request.getfixturevalue(kind), (rules or set(REVISIONS)) - NOT_COMPARED
    if RECORDING:
        record(kind, folder, TOLERANCES[kind], compared)
    assert compare(kind, folder, TOLERANCES[kind], compared) == []


def test_every_rule_has_golden_values(baseline, trained):
    from golden.values import read_recorded

    assert set(read_recorded()) == set(REVISIONS) - NOT_COMPARED


def test_changed_results_under_an_unchanged_revision_are_found(baseline, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(baseline, copy)
    labels = pd.read_csv(copy / "results/queries/panel/labels.csv")
    labels["confidence"] *= 0.99
    labels.to_csv(copy / "results/queries/panel/labels.csv", index=False)
    (problem,) = compare("baseline", copy, TOLERANCES["baseline"], {"deliver_labels"})
    assert problem.startswith("deliver_labels: results changed under revision")
    with pytest.raises(ValueError, match="deliver_labels: raise its revision first"):
        record("baseline", copy, TOLERANCES["baseline"], {"deliver_labels"})


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The repository cloned anew, all of whose files are newer than the results."""
    folder = tmp_path_factory.mktemp("clone") / "refatlas"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=REPO, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (REPO / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / name, folder / name)
    return folder


def plan(repo: Path, folder: Path) -> dict[str, int]:
    """Return the jobs that a checkout plans for a run."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", repo / "Snakefile", "--directory", folder]
    command += ["--configfile", folder / "config.yaml", "--dry-run"]
    return planned(subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd="/", check=True))


def test_a_new_clone_has_nothing_to_do(baseline, clone):
    assert plan(REPO, baseline) == {}
    assert plan(clone, baseline) == {}


def test_touched_and_edited_code_has_nothing_to_do(baseline, clone):
    later = time.time() + 30
    for file in (clone / "workflow").rglob("*"):
        if file.is_file():
            os.utime(file, (later, later))
    with (clone / "workflow/scripts/transfer_labels.py").open("a") as script:
        script.write("\n# A comment.\n")
    assert plan(clone, baseline) == {}


def test_a_raised_revision_computes_its_rule_and_what_follows(baseline, clone):
    file = clone / "workflow/scripts/refatlas/revisions.py"
    text = file.read_text()
    raised = text.replace('"transfer_labels": 1', '"transfer_labels": 2')
    assert raised != text
    file.write_text(raised)
    try:
        jobs = plan(clone, baseline)
    finally:
        file.write_text(text)
    assert jobs["transfer_labels"] == 3
    assert {"calibrate", "assess_query", "deliver_labels", "score_transfer", "write_report"} <= set(jobs)
    assert not {"scan_dataset", "prepare_query", "train_reference", "map_query", "index_reference"} & set(jobs)
