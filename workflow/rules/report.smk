# in:  everything above
# out: the provenance of all results, and the report: an index, and one page a query


# Once per reference: pages of queries read a small table.
rule sample_cells:
    input:
        **of_datasets(dataset_cells=CELLS),
        **of_models(umap="<results>/reference/models/{model}/umap.parquet"),
        **of_each(
            CLUSTERED,
            "model",
            {
                "clusters": "<results>/reference/models/{model}/clusters.parquet",
                "stability": "<results>/reference/models/{model}/cluster_stability.csv",
            },
        ),
        latent=f"<results>/reference/models/{CONTROL_MODEL}/latent.parquet",
    output:
        shown="<results>/reference/shown.parquet",
        background="<results>/reference/background.parquet",
    log:
        "<logs>/sample_cells.log",
    benchmark:
        "<benchmarks>/sample_cells.tsv"
    group:
        shared("integration")
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=12),
        runtime=minutes(30),
    params:
        revision=revision("sample_cells"),
        settings={
            key: CONFIG["report"][key] for key in ("max_cells", "background_cells")
        },
        seed=CONFIG["seed"],
    script:
        "../scripts/sample_cells.py"


# No query changes it.
rule write_reference_page:
    input:
        unpack(shown_of_reference),
        shown="<results>/reference/shown.parquet",
        sample=f"<results>/reference/{SAMPLES[COUNTS]}",
    output:
        page="<results>/report/reference.html",
    log:
        "<logs>/write_reference_page.log",
    benchmark:
        "<benchmarks>/write_reference_page.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=15),
        runtime=minutes(30),
    params:
        revision=revision("write_reference_page"),
        config={"models": {m: {"type": MODELS[m]["type"]} for m in MODELS}},
    script:
        "../scripts/write_reference_page.py"


# Of results of the query, and of small tables of the reference.
rule write_query_page:
    input:
        unpack(shown_of_query),
        background="<results>/reference/background.parquet",
        exported="<results>/queries/{name}/{name}.h5ad",
        cells="<results>/queries/{name}/cells.parquet",
        counts="<results>/queries/{name}/counts.h5ad",
        check="<results>/queries/{name}/check.json",
        figure="<results>/queries/{name}/umap.png",
        latent=f"<results>/queries/{{name}}/models/{CONTROL_MODEL}/latent.parquet",
    output:
        page="<results>/report/queries/{name}.html",
        summary="<results>/queries/{name}/summary.json",
    log:
        "<logs>/write_query_page/{name}.log",
    benchmark:
        "<benchmarks>/write_query_page/{name}.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=8),
        runtime=minutes(30),
    params:
        revision=revision("write_query_page"),
        settings={key: CONFIG["report"][key] for key in ("max_cells", "columns")},
    script:
        "../scripts/write_query_page.py"


# After every job but the report's own, because a job that has not ended has left no record to gather.
rule record_provenance:
    input:
        unpack(reported),
        **of_queries(check="<results>/queries/{name}/check.json"),
        exported="<results>/reference/reference.h5ad",
        page="<results>/report/reference.html",
        project_log="<results>/report/log.json",
        updated_trees=updated_trees(),
    output:
        provenance="<results>/provenance.json",
    log:
        "<logs>/record_provenance.log",
    benchmark:
        "<benchmarks>/record_provenance.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    params:
        revision=revision("record_provenance"),
        known={
            "dataset": list(DATASETS),
            "name": list(QUERIES),
            "query": [
                *(f"queries/{name}" for name in QUERIES),
                *(f"evaluation/{fold}/{HELD_OUT}" for fold in FOLDS),
            ],
            "model": list(MODELS),
            "split": ["reference", *(f"evaluation/{fold}" for fold in FOLDS)],
            "fold": list(FOLDS),
        },
        config=CONFIG,
    script:
        "../scripts/record_provenance.py"


rule write_report:
    input:
        unpack(reported),
        provenance="<results>/provenance.json",
    output:
        page="<results>/report/index.html",
        config="<results>/report/config.yaml",
    log:
        "<logs>/write_report.log",
    benchmark:
        "<benchmarks>/write_report.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(30),
    params:
        revision=revision("write_report"),
        config=CONFIG,
        left_out=LEFT_OUT,
    script:
        "../scripts/write_report.py"
