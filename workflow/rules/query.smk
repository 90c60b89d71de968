# in:  a query's counts, the trained models
# out: the query's latent space, its labels by each model, and the delivered labels


rule map_query:
    input:
        model="<results>/{split}/models/{model}/reference/model.pt",
        reference="<results>/{split}/counts.h5ad",
        query="<results>/{split}/queries/{query}/counts.h5ad",
    output:
        model="<results>/{split}/models/{model}/queries/{query}/model.pt",
        latent="<results>/{split}/models/{model}/queries/{query}/latent.parquet",
        training="<results>/{split}/models/{model}/queries/{query}/training.csv",
        classifier="<results>/{split}/models/{model}/queries/{query}/classifier.parquet",
        mapping="<results>/{split}/models/{model}/queries/{query}/mapping.json",
    log:
        "<logs>/map_query/{split}/{model}/{query}.log",
    benchmark:
        "<benchmarks>/map_query/{split}/{model}/{query}.tsv"
    priority: 50
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=gpus_of,
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=12),
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        spec=lambda w: spec_of(w, "init_from", "model", "pretrain", "train"),
        seed=CONFIG["seed"],
    script:
        "../scripts/map_query.py"


rule transfer_labels:
    input:
        reference="<results>/{split}/models/{model}/reference/latent.parquet",
        query="<results>/{split}/models/{model}/queries/{query}/latent.parquet",
        classifier="<results>/{split}/models/{model}/queries/{query}/classifier.parquet",
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        labels="<results>/{split}/models/{model}/queries/{query}/labels.parquet",
    log:
        "<logs>/transfer_labels/{split}/{model}/{query}.log",
    benchmark:
        "<benchmarks>/transfer_labels/{split}/{model}/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=60,
    params:
        k=CONFIG["transfer"]["k"],
    script:
        "../scripts/transfer_labels.py"


rule embed_query:
    input:
        reference="<results>/{split}/models/{model}/reference/latent.parquet",
        umap="<results>/{split}/models/{model}/reference/umap.parquet",
        query="<results>/{split}/models/{model}/queries/{query}/latent.parquet",
    output:
        umap="<results>/{split}/models/{model}/queries/{query}/umap.parquet",
    log:
        "<logs>/embed_query/{split}/{model}/{query}.log",
    benchmark:
        "<benchmarks>/embed_query/{split}/{model}/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=60,
    params:
        k=CONFIG["umap"]["n_neighbors"],
    script:
        "../scripts/embed_query.py"


rule deliver_labels:
    input:
        labels=expand(
            "<results>/atlas/models/{model}/queries/{{query}}/labels.parquet",
            model=MODELS,
        ),
        cells="<results>/queries/{query}/cells.parquet",
    output:
        labels="<results>/queries/{query}/labels.csv",
    log:
        "<logs>/deliver_labels/{query}.log",
    benchmark:
        "<benchmarks>/deliver_labels/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=30,
    params:
        models=list(MODELS),
        settings=CONFIG["deliver"],
    script:
        "../scripts/deliver_labels.py"
