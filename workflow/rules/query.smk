# in:  a query's counts, or those that a fold holds out; the trained models
# out: the query's latent spaces, its labels by each source, the delivered labels and the verdict on the mapping


rule map_query:
    input:
        model=of_reference("models/{model}/model.pt"),
        reference=sampled(counts_of_model),
        query="<results>/{query}/counts.h5ad",
    output:
        model="<results>/{query}/models/{model}/model.pt",
        checksum="<results>/{query}/models/{model}/model.pt.sha256",
        description="<results>/{query}/models/{model}/model.json",
        latent="<results>/{query}/models/{model}/latent.parquet",
        training="<results>/{query}/models/{model}/training.csv",
        classifier="<results>/{query}/models/{model}/classifier.parquet",
        fit="<results>/{query}/models/{model}/fit.parquet",
        mapping="<results>/{query}/models/{model}/mapping.json",
    log:
        "<logs>/map_query/{query}/{model}.log",
    benchmark:
        "<benchmarks>/map_query/{query}/{model}.tsv"
    priority: 50
    group:
        shared(unless_on_gpu(group_of_query))
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=gpus_of,
        mem_mb=mapping_mem_mb(MODELS),
        runtime=minutes_by_type(
            MODELS,
            on_gpu=minutes(240, per_input_mb=4, of="query"),
            on_cpu=minutes(60, per_input_mb=0.2, of="query"),
        ),
        checkpoint_seconds=CHECKPOINT_SECONDS,
    params:
        revision=revision("map_query"),
        settings=lambda w: mapping_settings(settings_of(w)),
        seed=CONFIG["seed"],
    script:
        "../scripts/map_query.py"


rule describe_query:
    input:
        model="<results>/queries/{name}/models/{model}/model.pt",
        counts="<results>/queries/{name}/counts.h5ad",
        reference=f"<results>/reference/{COUNTS}",
    output:
        tables=directory("<results>/queries/{name}/models/{model}/tables"),
    log:
        "<logs>/describe_query/{name}/{model}.log",
    benchmark:
        "<benchmarks>/describe_query/{name}/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=gpus_of,
        mem_mb=describing_mem_mb(),
        runtime=minutes(120),
    params:
        revision=revision("describe_query"),
        settings=lambda w: table_settings(MODELS[w.model]),
    script:
        "../scripts/describe_model.py"


# By every model: weighted kNN, logistic regression, and what the model's own classifier and its tree of labels say.
rule transfer_labels:
    input:
        unpack(indices_of),
        **of_models(
            query="<results>/{query}/models/{model}/latent.parquet",
            classifier="<results>/{query}/models/{model}/classifier.parquet",
        ),
        **of_each(
            CONFIG["tree"]["models"],
            "model",
            {"tree": "<results>/{query}/models/{model}/tree_labels.parquet"},
        ),
    output:
        **of_models(
            labels="<results>/{query}/models/{model}/labels.parquet",
            distance="<results>/{query}/models/{model}/distance.parquet",
        ),
    log:
        "<logs>/transfer_labels/{query}.log",
    benchmark:
        "<benchmarks>/transfer_labels/{query}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(120),
    params:
        revision=revision("transfer_labels"),
        k=CONFIG["transfer"]["k"],
    script:
        "../scripts/transfer_labels.py"


# By the baseline fitted anew to the reference as the query measured it: labels, and what novelty and verdict are made of.
rule match_query:
    input:
        reference=sampled(COUNTS),
        query="<results>/{query}/counts.h5ad",
    output:
        labels="<results>/{query}/matched/labels.parquet",
        measures="<results>/{query}/matched/measures.parquet",
        agreement="<results>/{query}/matched/agreement.json",
    log:
        "<logs>/match_query/{query}.log",
    benchmark:
        "<benchmarks>/match_query/{query}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=2500, per_input_mb=24, of="query"),
        runtime=minutes(120),
    params:
        revision=revision("match_query"),
        seed=CONFIG["seed"],
    script:
        "../scripts/match_query.py"


# One label per cell out of all sources, how the query compares with held-out cells, and the verdict: what calibrate and
# measure_held_out do for held-out cells.
rule assess_query:
    input:
        unpack(calibration_of),
        unpack(mapqc_of),
        **of_models(
            labels="<results>/queries/{name}/models/{model}/labels.parquet",
            fit="<results>/queries/{name}/models/{model}/fit.parquet",
            mapping="<results>/queries/{name}/models/{model}/mapping.json",
            latent="<results>/queries/{name}/models/{model}/latent.parquet",
            reference_latent="<results>/reference/models/{model}/latent.parquet",
        ),
        **of_folds(
            CALIBRATION_FOLDS,
            measures=f"<results>/evaluation/{{fold}}/{HELD_OUT}/measures.json",
        ),
        **of_datasets(dataset_cells=CELLS),
        **of_matched("<results>/queries/{name}"),
        cells="<results>/queries/{name}/cells.parquet",
        counts="<results>/queries/{name}/counts.h5ad",
        reference=f"<results>/reference/{SAMPLES[COUNTS]}",
        baseline=f"<results>/reference/models/{BASELINE}/model.pt",
    output:
        delivered="<results>/queries/{name}/delivered.parquet",
        sources="<results>/queries/{name}/sources.parquet",
        facts="<results>/queries/{name}/sources.json",
        measures="<results>/queries/{name}/measures.json",
        verdict="<results>/queries/{name}/verdict.json",
    log:
        "<logs>/assess_query/{name}.log",
    benchmark:
        "<benchmarks>/assess_query/{name}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=12),
        runtime=minutes(120),
    params:
        revision=revision("assess_query"),
        source=delivered_source(CONFIG),
        novel=CONFIG["deliver"]["novel"],
        seed=CONFIG["seed"],
    script:
        "../scripts/assess_query.py"


rule deliver_labels:
    input:
        **of_models(labels="<results>/queries/{name}/models/{model}/labels.parquet"),
        **of_each(
            CONFIG["tree"]["models"],
            "model",
            {"tree": "<results>/queries/{name}/models/{model}/tree.parquet"},
        ),
        delivered="<results>/queries/{name}/delivered.parquet",
        verdict="<results>/queries/{name}/verdict.json",
        cells="<results>/queries/{name}/cells.parquet",
    output:
        labels="<results>/queries/{name}/labels.csv",
    log:
        "<logs>/deliver_labels/{name}.log",
    benchmark:
        "<benchmarks>/deliver_labels/{name}.tsv"
    group:
        shared(group_of_delivery)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(30),
    params:
        revision=revision("deliver_labels"),
        min_confidence=CONFIG["deliver"]["min_confidence"],
        alpha=CONFIG["deliver"]["alpha"],
        stop=CONFIG["verdict"]["stop"],
    script:
        "../scripts/deliver_labels.py"


# Of queries that name control cells, by the latent space of the model that deliver.model names.
rule run_mapqc:
    input:
        **of_datasets(dataset_cells="cells.parquet"),
        reference=f"<results>/reference/models/{CONTROL_MODEL}/latent.parquet",
        query=f"<results>/queries/{{name}}/models/{CONTROL_MODEL}/latent.parquet",
        cells="<results>/queries/{name}/cells.parquet",
    output:
        scores="<results>/queries/{name}/mapqc.parquet",
        summary="<results>/queries/{name}/mapqc.json",
    log:
        "<logs>/run_mapqc/{name}.log",
    benchmark:
        "<benchmarks>/run_mapqc/{name}.tsv"
    wildcard_constraints:
        name=one_of(CONTROLLED),
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=2000, per_input_mb=10),
        runtime=minutes(60),
    params:
        revision=revision("run_mapqc"),
        seed=CONFIG["seed"],
    script:
        "../scripts/run_mapqc.py"


# Places in the reference's UMAP, which does not move, and the figure of them.
rule embed_query:
    input:
        **of_models(
            reference="<results>/reference/models/{model}/latent.parquet",
            umap="<results>/reference/models/{model}/umap.parquet",
            query="<results>/queries/{name}/models/{model}/latent.parquet",
            **if_labelled(
                labels="<results>/queries/{name}/models/{model}/labels.parquet",
                index="<results>/reference/models/{model}/index.npz",
            ),
        ),
        cells="<results>/queries/{name}/cells.parquet",
    output:
        **of_models(umap="<results>/queries/{name}/models/{model}/umap.parquet"),
        figure=report(
            "<results>/queries/{name}/umap.png",
            caption="../report/query.rst",
            category="Queries",
            labels={"query": "{name}", "figure": "UMAP over the reference"},
        ),
    log:
        "<logs>/embed_query/{name}.log",
    benchmark:
        "<benchmarks>/embed_query/{name}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=9),
        runtime=minutes(120),
    params:
        revision=revision("embed_query"),
        k=CONFIG["umap"]["n_neighbors"],
    script:
        "../scripts/embed_query.py"


# Of queries whose labels are known, and of the cells that folds hold out.
rule score_transfer:
    input:
        unpack(fold_of),
        **of_models(
            labels="<results>/{query}/models/{model}/labels.parquet",
            distance="<results>/{query}/models/{model}/distance.parquet",
            fit="<results>/{query}/models/{model}/fit.parquet",
        ),
        **of_datasets(dataset_cells=CELLS),
        **of_matched("<results>/{query}"),
        sources="<results>/{query}/sources.parquet",
        delivered="<results>/{query}/delivered.parquet",
        cells=scored_cells,
    output:
        scores="<results>/{query}/scores.csv",
        label_scores="<results>/{query}/label_scores.csv",
        confusion="<results>/{query}/confusion.csv",
        reliability="<results>/{query}/reliability.csv",
    log:
        "<logs>/score_transfer/{query}.log",
    benchmark:
        "<benchmarks>/score_transfer/{query}.tsv"
    group:
        shared(group_of_scores)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=60),
        runtime=minutes(30),
    params:
        revision=revision("score_transfer"),
        split=lambda w: SPLIT_NAMES.get(reference_of(w.query), w.query.split("/")[1]),
        query=lambda w: w.query.split("/")[-1],
    script:
        "../scripts/score_transfer.py"
