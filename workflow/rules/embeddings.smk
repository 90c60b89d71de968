# in:  the users' files
# out: embeddings of their cells that were made elsewhere (results/reference/datasets/DATASET/embeddings,
#      results/queries/NAME/embeddings); included only if a model is of type embedding


# Ahead of training, so that a file without it is refused before it.
rule read_query_embedding:
    input:
        unpack(known_embeddings),
        files=lambda w: files_of(query_row(w.name)),
        cells="<results>/queries/{name}/cells.parquet",
    output:
        embedding="<results>/queries/{name}/embeddings/{model}.parquet",
    log:
        "<logs>/read_query_embedding/{name}/{model}.log",
    benchmark:
        "<benchmarks>/read_query_embedding/{name}/{model}.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=1),
        runtime=minutes(60),
    params:
        revision=revision("read_embedding"),
        row=lambda w: query_row(w.name),
        key=lambda w: MODELS[w.model]["model"]["key"],
    script:
        "../scripts/read_embedding.py"


if not ATLAS:

    use rule read_query_embedding as read_embedding with:
        input:
            files=lambda w: files_of(DATASETS[w.dataset]),
            cells="<results>/reference/datasets/{dataset}/cells.parquet",
        output:
            embedding="<results>/reference/datasets/{dataset}/embeddings/{model}.parquet",
        log:
            "<logs>/read_embedding/{dataset}/{model}.log",
        benchmark:
            "<benchmarks>/read_embedding/{dataset}/{model}.tsv"
        params:
            revision=revision("read_embedding"),
            row=lambda w: DATASETS[w.dataset],
            key=lambda w: MODELS[w.model]["model"]["key"],
