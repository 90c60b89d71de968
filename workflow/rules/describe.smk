# in:  a query's labels and latent spaces
# out: what else there is to know of its cells: places in the reference's UMAP, groups of novel cells, tables of the models, its
#      labels in the tree, scores against known labels


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


# Novel cells of a query: which lie together, and what marks them among the query's other cells.
rule group_novel:
    input:
        latent=f"<results>/queries/{{name}}/models/{CONTROL_MODEL}/latent.parquet",
        cells="<results>/queries/{name}/cells.parquet",
        genes="<results>/queries/{name}/genes.parquet",
        reference_genes="<results>/reference/genes.parquet",
        check="<results>/queries/{name}/check.json",
        delivered="<results>/queries/{name}/delivered.parquet",
        files=lambda w: files_of(query_row(w.name)) + suggestion_files(),
    output:
        groups="<results>/queries/{name}/novel_groups.csv",
        cells="<results>/queries/{name}/novel_cells.csv",
        markers="<results>/queries/{name}/novel_markers.csv",
        dot_plot="<results>/queries/{name}/novel_markers.png",
    log:
        "<logs>/group_novel/{name}.log",
    benchmark:
        "<benchmarks>/group_novel/{name}.tsv"
    group:
        # None where it reads the user's marker genes, which it may refuse: a failed group loses the labels as well.
        shared(None if CONFIG["suggestions"]["markers"] else group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=6, of="latent"),
        runtime=minutes(60, per_input_mb=0.2),
    params:
        revision=revision("group_novel"),
        row=lambda w: query_row(w.name),
        suggestions=CONFIG["suggestions"],
        k=CONFIG["clusters"]["n_neighbors"],
        seed=CONFIG["seed"],
    script:
        "../scripts/group_novel.py"


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


rule describe_query:
    input:
        unpack(known_proteins),
        model="<results>/queries/{name}/models/{model}/model.pt",
        counts="<results>/queries/{name}/counts.h5ad",
        reference=read_by_queries("reference"),
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


# For reading alone: nothing that is delivered depends on a query's labels.
rule update_hierarchy:
    input:
        tree="<results>/reference/models/{model}/tree.npz",
        latent="<results>/queries/{name}/models/{model}/latent.parquet",
        cells="<results>/queries/{name}/cells.parquet",
    output:
        newick="<results>/queries/{name}/{model}_tree.nwk",
        table="<results>/queries/{name}/{model}_tree.csv",
        figure=report(
            "<results>/queries/{name}/{model}_tree.png",
            caption="../report/tree.rst",
            category="Queries",
            labels={"query": "{name}", "figure": "labels in the tree of {model}"},
        ),
    log:
        "<logs>/update_hierarchy/{name}/{model}.log",
    benchmark:
        "<benchmarks>/update_hierarchy/{name}/{model}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(240),
    params:
        revision=revision("update_hierarchy"),
        settings=tree_settings(CONFIG),
        seed=CONFIG["seed"],
    script:
        "../scripts/update_hierarchy.py"


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
        **of_external("<results>/{query}"),
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
