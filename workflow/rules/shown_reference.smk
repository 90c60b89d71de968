# in:  the reference's files, and the results of everything above
# out: what people look at of the reference: its file, its cells in the report, its page; on request one file with all queries


# Independent of queries: it is not written again for one more.
rule export_reference:
    input:
        **terms_of_labels(),
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
        sample=read_by_queries("reference"),
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
