# in:  everything above
# out: figures, one atlas file a model, and the report


rule plot_reference:
    input:
        training="<results>/atlas/models/{model}/reference/training.csv",
        umap="<results>/atlas/models/{model}/reference/umap.parquet",
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        training=report(
            "<results>/report/figures/{model}_training.png",
            caption="../report/training.rst",
            category="Reference",
            labels={"model": "{model}", "figure": "loss curves"},
        ),
        umap=report(
            "<results>/report/figures/{model}_umap.png",
            caption="../report/umap.rst",
            category="Reference",
            labels={"model": "{model}", "figure": "UMAP by batch and label"},
        ),
    log:
        "<logs>/plot_reference/{model}.log",
    benchmark:
        "<benchmarks>/plot_reference/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=30),
        runtime=minutes(30),
    script:
        "../scripts/plot_reference.py"


rule plot_query:
    input:
        reference=expand(
            "<results>/atlas/models/{model}/reference/umap.parquet", model=MODELS
        ),
        umaps=expand(
            "<results>/atlas/models/{model}/queries/{{query}}/umap.parquet",
            model=MODELS,
        ),
        labels=expand(
            "<results>/atlas/models/{model}/queries/{{query}}/labels.parquet",
            model=MODELS,
        ),
        cells="<results>/queries/{query}/cells.parquet",
    output:
        umap=report(
            "<results>/report/figures/query_{query}.png",
            caption="../report/query.rst",
            category="Queries",
            labels={"query": "{query}", "figure": "UMAP over the reference"},
        ),
    log:
        "<logs>/plot_query/{query}.log",
    benchmark:
        "<benchmarks>/plot_query/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(30),
    params:
        models=list(MODELS),
    script:
        "../scripts/plot_query.py"


rule plot_transfer:
    input:
        transfer="<results>/evaluation/transfer.csv",
        reliability="<results>/evaluation/transfer_reliability.csv",
    output:
        figure=report(
            "<results>/report/figures/transfer.png",
            caption="../report/transfer.rst",
            category="Evaluation",
            labels={"figure": "labels of held-out batches"},
        ),
    log:
        "<logs>/plot_transfer.log",
    benchmark:
        "<benchmarks>/plot_transfer.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500),
        runtime=minutes(10),
    script:
        "../scripts/plot_transfer.py"


rule export_atlas:
    input:
        reference="<results>/atlas/counts.h5ad",
        latent="<results>/atlas/models/{model}/reference/latent.parquet",
        umap="<results>/atlas/models/{model}/reference/umap.parquet",
        queries=expand("<results>/atlas/queries/{query}/counts.h5ad", query=QUERIES),
        query_latents=expand(
            "<results>/atlas/models/{{model}}/queries/{query}/latent.parquet",
            query=QUERIES,
        ),
        query_umaps=expand(
            "<results>/atlas/models/{{model}}/queries/{query}/umap.parquet",
            query=QUERIES,
        ),
        query_labels=expand(
            "<results>/atlas/models/{{model}}/queries/{query}/labels.parquet",
            query=QUERIES,
        ),
        query_cells=expand("<results>/queries/{query}/cells.parquet", query=QUERIES),
        delivered=expand("<results>/queries/{query}/labels.csv", query=QUERIES),
    output:
        atlas="<results>/atlas/{model}.h5ad",
    log:
        "<logs>/export_atlas/{model}.log",
    benchmark:
        "<benchmarks>/export_atlas/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=6),
        runtime=minutes(120),
    params:
        queries=list(QUERIES),
    script:
        "../scripts/export_atlas.py"


# After every job but the report's own, because what has not ended has left no record to selected_counts.
rule record_provenance:
    input:
        unpack(reported),
        datasets=expand("<results>/datasets/{dataset}/files.json", dataset=DATASETS),
        queries=expand("<results>/queries/{query}/files.json", query=QUERIES),
        atlases=expand("<results>/atlas/{model}.h5ad", model=MODELS),
        updated_trees=updated_trees(),
    output:
        provenance="<results>/provenance.json",
    log:
        "<logs>/record_provenance.log",
    benchmark:
        "<benchmarks>/record_provenance.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    params:
        sheets={"datasets": list(DATASETS), "queries": list(QUERIES)},
        known={
            "name": [*DATASETS, *QUERIES],
            "dataset": list(DATASETS),
            "query": [*QUERIES, HELD_OUT],
            "model": list(MODELS),
            "split": ["atlas", *FOLDS],
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
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(30),
    params:
        queries=list(QUERIES),
        models=MODELS,
        folds=list(FOLDS),
        described=DESCRIBED,
        trees=CONFIG["tree"]["models"],
        config=CONFIG,
    script:
        "../scripts/write_report.py"
