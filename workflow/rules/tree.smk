# in:  the latent spaces and labels of references
# out: trees of labels


# Ahead of training, so that a tree that does not fit the labels is refused before it.
rule check_hierarchy:
    input:
        **of_datasets(dataset_cells=CELLS),
        tree=local(CONFIG["tree"]["file"]) if CONFIG["tree"]["file"] else [],
    output:
        tree="<results>/reference/hierarchy.nwk",
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
    params:
        revision=revision("check_hierarchy"),
    script:
        "../scripts/check_hierarchy.py"


rule learn_hierarchy:
    input:
        **of_datasets(dataset_cells=CELLS),
        # The user's tree of labels; without one, the tree is learned.
        tree="<results>/reference/hierarchy.nwk" if CONFIG["tree"]["file"] else [],
        latent="<results>/{split}/models/{model}/latent.parquet",
    output:
        tree="<results>/{split}/models/{model}/tree.npz",
        newick="<results>/{split}/models/{model}/tree.nwk",
        table="<results>/{split}/models/{model}/tree.csv",
        figure=report(
            "<results>/{split}/models/{model}/tree.png",
            caption="../report/tree.rst",
            category="Reference",
            labels={"model": "{model}", "figure": "tree of labels ({split})"},
        ),
    log:
        "<logs>/learn_hierarchy/{split}/{model}.log",
    benchmark:
        "<benchmarks>/learn_hierarchy/{split}/{model}.tsv"
    group:
        shared(group_of_fold)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(240),
    params:
        revision=revision("learn_hierarchy"),
        settings=tree_settings(CONFIG),
        seed=CONFIG["seed"],
    script:
        "../scripts/learn_hierarchy.py"
