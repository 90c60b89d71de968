# in:  the users' files, and the results of everything above
# out: h5ad files for people: one of each query, one of the reference, and on request one of all


# Reads nothing of the reference: one more query costs what that query costs.
rule export_query:
    input:
        **of_models(
            latent="<results>/queries/{name}/models/{model}/latent.parquet",
            umap="<results>/queries/{name}/models/{model}/umap.parquet",
        ),
        **if_labelled(
            labels="<results>/queries/{name}/labels.csv",
            verdict="<results>/queries/{name}/verdict.json",
        ),
        files=lambda w: files_of(query_row(w.name)),
        check="<results>/queries/{name}/check.json",
        cells="<results>/queries/{name}/cells.parquet",
        counts="<results>/queries/{name}/counts.h5ad",
    output:
        cells="<results>/queries/{name}/{name}.h5ad",
    log:
        "<logs>/export_query/{name}.log",
    benchmark:
        "<benchmarks>/export_query/{name}.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=1),
        runtime=minutes(60),
    params:
        revision=revision("export_query"),
        row=lambda w: query_row(w.name),
        genes=CONFIG["export"]["genes"],
        shown=CONFIG["deliver"]["model"],
    script:
        "../scripts/export_query.py"


# Independent of queries: it is not written again for one more.
rule export_reference:
    input:
        **of_datasets(scan="scan.json", cells="cells.parquet"),
        **of_models(
            latent="<results>/reference/models/{model}/latent.parquet",
            umap="<results>/reference/models/{model}/umap.parquet",
        ),
        **of_each(
            CLUSTERED,
            "model",
            {
                "clusters": "<results>/reference/models/{model}/clusters.parquet",
                "stability": "<results>/reference/models/{model}/cluster_stability.csv",
            },
        ),
        files=[file for row in DATASETS.values() for file in files_of(row)],
        counts=f"<results>/reference/{COUNTS}",
    output:
        cells="<results>/reference/reference.h5ad",
    log:
        "<logs>/export_reference.log",
    benchmark:
        "<benchmarks>/export_reference.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=1),
        runtime=minutes(120, per_input_mb=0.01),
    params:
        revision=revision("export_reference"),
        rows=DATASETS,
        keep_columns=CONFIG["export"]["keep_columns"],
        shown=CONFIG["deliver"]["model"],
    script:
        "../scripts/export_reference.py"


# Only on request (target atlas): it grows with every query. Of queries the counts of the selected genes are taken.
rule export_atlas:
    input:
        **of_queries(
            file="<results>/queries/{name}/{name}.h5ad",
            counts="<results>/queries/{name}/counts.h5ad",
        ),
        reference="<results>/reference/reference.h5ad",
    output:
        atlas="<results>/atlas/atlas.h5ad",
    log:
        "<logs>/export_atlas.log",
    benchmark:
        "<benchmarks>/export_atlas.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=1),
        runtime=minutes(60, per_input_mb=0.01),
    params:
        revision=revision("export_atlas"),
        levels=N_LEVELS if LABELLED else 0,
        clustered=CLUSTERED,
    script:
        "../scripts/export_atlas.py"
