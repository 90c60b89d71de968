"""Revisions of the rules: what decides, after an upgrade, which results are computed again.

A rule's revision is raised, by one, in the commit that changes its results, and only then; CHANGELOG.md names it.
Snakemake compares it as a parameter. File times and contents of code decide nothing.
"""

REVISIONS = {
    "make_demo": 1,
    "fetch_file": 1,
    "scan_dataset": 1,
    "prepare_query": 1,
    "read_pretrained": 1,
    "plan_fold": 1,
    "select_genes": 1,
    "build_reference": 1,
    "hold_out": 1,
    "train_reference": 1,
    "describe_reference": 1,
    "sample_reference": 1,
    "index_reference": 1,
    "embed_reference": 1,
    "draw_reference": 1,
    "score_integration": 1,
    "check_hierarchy": 1,
    "learn_hierarchy": 1,
    "map_query": 1,
    "describe_query": 2,
    "classify_by_tree": 1,
    "transfer_labels": 1,
    "match_query": 1,
    "hide_labels": 1,
    "calibrate": 2,
    "measure_held_out": 2,
    "assess_query": 3,
    "deliver_labels": 2,
    "calibrate_quick": 1,
    "deliver_quick": 1,
    "compare_quick": 1,
    "cluster_reference": 1,
    "find_markers": 1,
    "describe_clusters": 1,
    "match_labels": 1,
    "annotate_cells": 1,
    "label_counts": 1,
    "label_held_out": 1,
    "check_query_labels": 1,
    "find_terms": 1,
    "group_novel": 2,
    "compare_models": 1,
    "run_mapqc": 1,
    "plan_contrast": 1,
    "compare_conditions": 1,
    "compare_abundance": 1,
    "write_contrast_page": 1,
    "embed_query": 1,
    "update_hierarchy": 1,
    "score_transfer": 2,
    "collect_integration": 1,
    "collect_transfer": 2,
    "write_project_log": 1,
    "export_query": 1,
    "export_reference": 1,
    "export_atlas": 4,
    "write_bundle": 1,
    "unpack_atlas": 1,
    "grow_atlas": 1,
    "make_hub_model": 1,
    "publish_huggingface": 1,
    "publish_zenodo": 1,
    "record_provenance": 1,
    "sample_cells": 1,
    "write_reference_page": 1,
    "write_query_page": 1,
    "write_report": 5,
}


def revision(rule: str) -> str:
    """Return the parameter that stands for a rule's revision.

    A text of its own, because Snakemake compares the values of parameters without their names: a bare number that
    another parameter has already would hide a change.
    """
    return f"revision {REVISIONS[rule]} of {rule}"
