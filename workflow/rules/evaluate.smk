# in:  latent spaces and labels
# out: results/evaluation/integration.csv (scib metrics), results/evaluation/transfer.csv (labels against known ones, baselines beside)


rule score_integration:
    input:
        latent="<results>/{split}/models/{model}/reference/latent.parquet",
        unintegrated=f"<results>/{{split}}/models/{BASELINE}/reference/latent.parquet",
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        scores="<results>/{split}/models/{model}/reference/integration.csv",
    log:
        "<logs>/score_integration/{split}/{model}.log",
    benchmark:
        "<benchmarks>/score_integration/{split}/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=6000, per_input_mb=10),
        runtime=120,
    params:
        settings=CONFIG["integration"],
        seed=CONFIG["seed"],
    script:
        "../scripts/score_integration.py"


rule collect_integration:
    input:
        scores=expand(
            "<results>/atlas/models/{model}/reference/integration.csv", model=MODELS
        ),
    output:
        table="<results>/evaluation/integration.csv",
    log:
        "<logs>/collect_integration.log",
    benchmark:
        "<benchmarks>/collect_integration.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    script:
        "../scripts/collect_tables.py"


rule score_transfer:
    input:
        labels=expand(
            "<results>/{{split}}/models/{model}/queries/{{query}}/labels.parquet",
            model=MODELS,
        ),
        cells="<results>/queries/{query}/cells.parquet",
        reference=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        scores="<results>/{split}/queries/{query}/scores.csv",
        label_scores="<results>/{split}/queries/{query}/label_scores.csv",
        confusion="<results>/{split}/queries/{query}/confusion.csv",
    log:
        "<logs>/score_transfer/{split}/{query}.log",
    benchmark:
        "<benchmarks>/score_transfer/{split}/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=30,
    params:
        models=list(MODELS),
    script:
        "../scripts/score_transfer.py"


rule collect_transfer:
    input:
        scores=expand("<results>/atlas/queries/{query}/scores.csv", query=QUERIES),
    output:
        table="<results>/evaluation/transfer.csv",
    log:
        "<logs>/collect_transfer.log",
    benchmark:
        "<benchmarks>/collect_transfer.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    script:
        "../scripts/collect_tables.py"
