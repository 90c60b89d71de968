# in:  the users' files, and tables of T-cell receptors that the sheets name; labels of the reference and the queries
# out: receptors of all cells (results/reference/datasets/DATASET, results/queries/NAME), clonotypes of the reference and the
#      queries, and a page in the report; included only if the configuration has receptors
CLONOTYPE_FILES = {
    "clonotypes": "clonotypes.csv",
    "batches": "clonotype_batches.csv",
    "labels": "clonotype_labels.csv",
    "overlap": "clonotype_overlap.csv",
    "cells": "clonotype_cells.parquet",
    "summary": "clonotypes.json",
}


def clonotype_files(folder):
    """The tables of clonotypes of the reference or of a query, by kind."""
    return {kind: f"{folder}/{name}" for kind, name in CLONOTYPE_FILES.items()}


def of_clonotype_sources(*kinds):
    """Tables of clonotypes of the reference and all queries, named "kind:name"; the reference is named after no query."""
    found = {}
    for kind in kinds:
        name = CLONOTYPE_FILES[kind]
        found[f"reference_{kind}"] = f"<results>/reference/{name}"
        found |= of_queries(**{kind: f"<results>/queries/{{name}}/{name}"})
    return found


def tables_of_chains(name):
    """The tables of receptors that the sheet names for a dataset or query."""
    return [local(path) for path in (TABLES_OF_CHAINS.get(name) or {}).values()]


# Ahead of training, so that a file without them is refused before it.
rule read_query_receptors:
    input:
        **of_datasets(known="receptors.parquet"),
        files=lambda w: files_of(query_row(w.name)),
        tables=lambda w: tables_of_chains(w.name),
        cells="<results>/queries/{name}/cells.parquet",
    output:
        receptors="<results>/queries/{name}/receptors.parquet",
    log:
        "<logs>/read_query_receptors/{name}.log",
    benchmark:
        "<benchmarks>/read_query_receptors/{name}.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=2000, per_input_mb=8),
        runtime=minutes(60),
    params:
        revision=revision("read_receptors"),
        row=lambda w: query_row(w.name),
        tables=lambda w: TABLES_OF_CHAINS.get(w.name),
        settings=READING_OF_RECEPTORS,
        where=lambda w: f"query {w.name!r}",
    script:
        "../scripts/read_receptors.py"


use rule read_query_receptors as read_receptors with:
    input:
        files=lambda w: files_of(DATASETS[w.dataset]),
        tables=lambda w: tables_of_chains(w.dataset),
        cells="<results>/reference/datasets/{dataset}/cells.parquet",
    output:
        receptors="<results>/reference/datasets/{dataset}/receptors.parquet",
    log:
        "<logs>/read_receptors/{dataset}.log",
    benchmark:
        "<benchmarks>/read_receptors/{dataset}.tsv"
    params:
        revision=revision("read_receptors"),
        row=lambda w: DATASETS[w.dataset],
        tables=lambda w: TABLES_OF_CHAINS.get(w.dataset),
        settings=READING_OF_RECEPTORS,
        where=lambda w: f"dataset {w.dataset!r}",


rule find_query_clonotypes:
    input:
        **if_labelled(delivered="<results>/queries/{name}/delivered.parquet"),
        **{"receptors:query": "<results>/queries/{name}/receptors.parquet"},
        query_cells="<results>/queries/{name}/cells.parquet",
        reference="<results>/reference/clonotypes.csv",
    output:
        **clonotype_files("<results>/queries/{name}"),
    log:
        "<logs>/find_query_clonotypes/{name}.log",
    benchmark:
        "<benchmarks>/find_query_clonotypes/{name}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=12),
        runtime=minutes(30),
    params:
        revision=revision("find_clonotypes"),
        v_genes=CONFIG["receptors"]["v_genes"],
    script:
        "../scripts/find_clonotypes.py"


use rule find_query_clonotypes as find_clonotypes with:
    input:
        **of_datasets(receptors="receptors.parquet", cells=CELLS),
    output:
        **clonotype_files("<results>/reference"),
    log:
        "<logs>/find_clonotypes.log",
    benchmark:
        "<benchmarks>/find_clonotypes.tsv"
    group:
        shared(None)


rule write_clonotype_page:
    input:
        **of_clonotype_sources("summary", "clonotypes", "batches", "labels", "overlap"),
        **of_receptor_models(),
    output:
        page="<results>/report/clonotypes.html",
        figure="<results>/report/clonotypes.png",
    log:
        "<logs>/write_clonotype_page.log",
    benchmark:
        "<benchmarks>/write_clonotype_page.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=8),
        runtime=minutes(10),
    params:
        revision=revision("write_clonotype_page"),
        v_genes=CONFIG["receptors"]["v_genes"],
    script:
        "../scripts/write_clonotype_page.py"
