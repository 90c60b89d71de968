# in:  the reference's latent spaces and labels; the queries' latent spaces
# out: trees of labels; where each query cell stops in them, and its labels as one more source; trees extended by labelled queries


# Ahead of training, so that a tree that does not fit the labels is refused before it.
rule check_hierarchy:
    input:
        tree=CONFIG["tree"]["file"] or [],
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        tree="<results>/hierarchy.nwk",
    log:
        "<logs>/check_hierarchy.log",
    benchmark:
        "<benchmarks>/check_hierarchy.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=10),
        runtime=minutes(10),
    script:
        "../scripts/check_hierarchy.py"


rule learn_hierarchy:
    input:
        unpack(given_tree),
        latent="<results>/{split}/models/{model}/reference/latent.parquet",
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        tree="<results>/{split}/models/{model}/reference/tree.npz",
        newick="<results>/{split}/models/{model}/reference/tree.nwk",
        table="<results>/{split}/models/{model}/reference/tree.csv",
        figure=report(
            "<results>/{split}/models/{model}/reference/tree.png",
            caption="../report/tree.rst",
            category="Reference",
            labels={"model": "{model}", "figure": "tree of labels ({split})"},
        ),
    log:
        "<logs>/learn_hierarchy/{split}/{model}.log",
    benchmark:
        "<benchmarks>/learn_hierarchy/{split}/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(240),
    params:
        settings=tree_settings(CONFIG),
        seed=CONFIG["seed"],
    script:
        "../scripts/learn_hierarchy.py"


rule classify_by_tree:
    input:
        tree="<results>/{split}/models/{model}/reference/tree.npz",
        latent="<results>/{split}/models/{model}/queries/{query}/latent.parquet",
    output:
        nodes="<results>/{split}/models/{model}/queries/{query}/tree.parquet",
        labels="<results>/{split}/models/{model}/queries/{query}/tree_labels.parquet",
    log:
        "<logs>/classify_by_tree/{split}/{model}/{query}.log",
    benchmark:
        "<benchmarks>/classify_by_tree/{split}/{model}/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=10),
        runtime=minutes(60),
    script:
        "../scripts/classify_by_tree.py"


# For reading alone: nothing that is delivered depends on a query's labels.
rule update_hierarchy:
    input:
        tree="<results>/atlas/models/{model}/reference/tree.npz",
        latent="<results>/atlas/models/{model}/queries/{query}/latent.parquet",
        cells="<results>/queries/{query}/cells.parquet",
    output:
        newick="<results>/queries/{query}/{model}_tree.nwk",
        table="<results>/queries/{query}/{model}_tree.csv",
        figure=report(
            "<results>/queries/{query}/{model}_tree.png",
            caption="../report/tree.rst",
            category="Queries",
            labels={"query": "{query}", "figure": "labels in the tree of {model}"},
        ),
    log:
        "<logs>/update_hierarchy/{model}/{query}.log",
    benchmark:
        "<benchmarks>/update_hierarchy/{model}/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(240),
    params:
        settings=tree_settings(CONFIG),
        seed=CONFIG["seed"],
    script:
        "../scripts/update_hierarchy.py"
