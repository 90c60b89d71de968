# in:  a query's counts, or those that a fold holds out; the trained models
# out: the query's latent space, its labels by each source, the verdict on its mapping, and the delivered labels


rule map_query:
    input:
        model="<results>/{split}/models/{model}/reference/model.pt",
        reference="<results>/{split}/counts.h5ad",
        query="<results>/{split}/queries/{query}/counts.h5ad",
    output:
        model="<results>/{split}/models/{model}/queries/{query}/model.pt",
        checksum="<results>/{split}/models/{model}/queries/{query}/model.pt.sha256",
        latent="<results>/{split}/models/{model}/queries/{query}/latent.parquet",
        training="<results>/{split}/models/{model}/queries/{query}/training.csv",
        classifier="<results>/{split}/models/{model}/queries/{query}/classifier.parquet",
        fit="<results>/{split}/models/{model}/queries/{query}/fit.parquet",
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
        mem_mb=memory_of_model(base=3000, per_input_mb=12),
        runtime=minutes(240, per_input_mb=4, of="query"),
        checkpoint_seconds=CHECKPOINT_SECONDS,
    params:
        spec=lambda w: spec_of(
            w,
            "gpus",
            "init_from",
            "model",
            "pretrain",
            "pretrained",
            "train",
            "outputs",
        ),
        seed=CONFIG["seed"],
        # Of one latent space, which is the baseline's as are the positions that combine_labels reads.
        divergence=lambda w: w.model == BASELINE,
    script:
        "../scripts/map_query.py"


rule describe_query:
    input:
        model="<results>/{split}/models/{model}/queries/{query}/model.pt",
        counts="<results>/{split}/queries/{query}/counts.h5ad",
        reference="<results>/{split}/counts.h5ad",
    output:
        tables=directory("<results>/{split}/models/{model}/queries/{query}/tables"),
    log:
        "<logs>/describe_query/{split}/{model}/{query}.log",
    benchmark:
        "<benchmarks>/describe_query/{split}/{model}/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=gpus_of,
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=12),
        runtime=minutes(120),
    params:
        spec=outputs_of,
    script:
        "../scripts/describe_model.py"


rule transfer_labels:
    input:
        unpack(tree_labels_of),
        index="<results>/{split}/models/{model}/reference/index.npz",
        reference="<results>/{split}/models/{model}/reference/latent.parquet",
        query="<results>/{split}/models/{model}/queries/{query}/latent.parquet",
        classifier="<results>/{split}/models/{model}/queries/{query}/classifier.parquet",
    output:
        labels="<results>/{split}/models/{model}/queries/{query}/labels.parquet",
        distance="<results>/{split}/models/{model}/queries/{query}/distance.parquet",
    log:
        "<logs>/transfer_labels/{split}/{model}/{query}.log",
    benchmark:
        "<benchmarks>/transfer_labels/{split}/{model}/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(60),
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
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=9),
        runtime=minutes(60),
    params:
        k=CONFIG["umap"]["n_neighbors"],
    script:
        "../scripts/embed_query.py"


# What calibrate does for held-out cells.
rule combine_labels:
    input:
        unpack(calibration_of),
        **sources_of("atlas", "{query}"),
        positions=f"<results>/atlas/models/{BASELINE}/queries/{{query}}/latent.parquet",
        cells="<results>/queries/{query}/cells.parquet",
        reference=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        delivered="<results>/atlas/queries/{query}/delivered.parquet",
        combined="<results>/atlas/queries/{query}/combined.parquet",
        sources="<results>/atlas/queries/{query}/sources.json",
    log:
        "<logs>/combine_labels/{query}.log",
    benchmark:
        "<benchmarks>/combine_labels/{query}.tsv"
    wildcard_constraints:
        query=one_of(QUERIES),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=20),
        runtime=minutes(60),
    params:
        models=list(MODELS),
        source=f"{CONFIG['deliver']['model']}:{CONFIG['deliver']['source']}",
        novel=CONFIG["deliver"]["novel"],
    script:
        "../scripts/combine_labels.py"


rule measure_query:
    input:
        reference="<results>/{split}/counts.h5ad",
        query="<results>/{split}/queries/{query}/counts.h5ad",
        cells=cells_of,
        delivered="<results>/{split}/queries/{query}/delivered.parquet",
        baseline=f"<results>/{{split}}/models/{BASELINE}/reference/model.pt",
        reference_latents=expand(
            "<results>/{{split}}/models/{model}/reference/latent.parquet", model=MODELS
        ),
        latents=expand(
            "<results>/{{split}}/models/{model}/queries/{{query}}/latent.parquet",
            model=MODELS,
        ),
        fits=expand(
            "<results>/{{split}}/models/{model}/queries/{{query}}/fit.parquet",
            model=MODELS,
        ),
        mappings=expand(
            "<results>/{{split}}/models/{model}/queries/{{query}}/mapping.json",
            model=MODELS,
        ),
    output:
        measures="<results>/{split}/queries/{query}/measures.json",
    log:
        "<logs>/measure_query/{split}/{query}.log",
    benchmark:
        "<benchmarks>/measure_query/{split}/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=4),
        runtime=minutes(60),
    params:
        models=list(MODELS),
        seed=CONFIG["seed"],
    script:
        "../scripts/measure_query.py"


# Of queries that name control cells, by the latent space of the model that deliver.model names.
rule run_mapqc:
    input:
        reference=f"<results>/atlas/models/{CONTROL_MODEL}/reference/latent.parquet",
        query=f"<results>/atlas/models/{CONTROL_MODEL}/queries/{{query}}/latent.parquet",
        cells="<results>/queries/{query}/cells.parquet",
        reference_cells=expand(
            "<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS
        ),
    output:
        scores="<results>/queries/{query}/mapqc.parquet",
        summary="<results>/queries/{query}/mapqc.json",
    log:
        "<logs>/run_mapqc/{query}.log",
    benchmark:
        "<benchmarks>/run_mapqc/{query}.tsv"
    wildcard_constraints:
        query=one_of(CONTROLLED),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=2000, per_input_mb=10),
        runtime=minutes(60),
    params:
        seed=CONFIG["seed"],
    script:
        "../scripts/run_mapqc.py"


# The same of held-out cells, whose shares of distant ones are the usual ones.
use rule run_mapqc as run_mapqc_held_out with:
    input:
        reference=f"<results>/{{split}}/models/{CONTROL_MODEL}/reference/latent.parquet",
        query=f"<results>/{{split}}/models/{CONTROL_MODEL}/queries/{HELD_OUT}/latent.parquet",
        cells=f"<results>/{{split}}/queries/{HELD_OUT}/cells.parquet",
        reference_cells=expand(
            "<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS
        ),
    output:
        scores=f"<results>/{{split}}/queries/{HELD_OUT}/mapqc.parquet",
        summary=f"<results>/{{split}}/queries/{HELD_OUT}/mapqc.json",
    log:
        "<logs>/run_mapqc_held_out/{split}.log",
    benchmark:
        "<benchmarks>/run_mapqc_held_out/{split}.tsv"
    wildcard_constraints:
        split=one_of(calibrating(FOLDS)),


rule assess_query:
    input:
        unpack(mapqc_of),
        measures="<results>/atlas/queries/{query}/measures.json",
        held_out=expand(
            f"<results>/{{split}}/queries/{HELD_OUT}/measures.json",
            split=calibrating(FOLDS),
        ),
    output:
        verdict="<results>/queries/{query}/verdict.json",
    log:
        "<logs>/assess_query/{query}.log",
    benchmark:
        "<benchmarks>/assess_query/{query}.tsv"
    wildcard_constraints:
        query=one_of(QUERIES),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    script:
        "../scripts/assess_query.py"


rule deliver_labels:
    input:
        labels=expand(
            "<results>/atlas/models/{model}/queries/{{query}}/labels.parquet",
            model=MODELS,
        ),
        trees=expand(
            "<results>/atlas/models/{model}/queries/{{query}}/tree.parquet",
            model=CONFIG["tree"]["models"],
        ),
        delivered="<results>/atlas/queries/{query}/delivered.parquet",
        verdict="<results>/queries/{query}/verdict.json",
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
        runtime=minutes(30),
    params:
        models=list(MODELS),
        tree_models=CONFIG["tree"]["models"],
        min_confidence=CONFIG["deliver"]["min_confidence"],
        stop=CONFIG["verdict"]["stop"],
    script:
        "../scripts/deliver_labels.py"
