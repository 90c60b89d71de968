# in:  models that were mapped, and the counts and labels of their cells; what criticism_reference.smk, or an atlas bundle, has of the reference
# out: posterior predictive checks of queries and of held-out cells, and their page in the report; only where the config names models


# On the CPU, whatever the model: it shares a group with labels and verdict of the query, and stands between them.
rule criticize_query:
    input:
        **if_labelled(labels="<results>/{query}/models/{model}/labels.parquet"),
        model="<results>/{query}/models/{model}/model.pt",
        counts="<results>/{query}/counts.h5ad",
    output:
        table="<results>/{query}/models/{model}/criticism.csv",
        genes="<results>/{query}/models/{model}/criticism_genes.parquet",
        figure="<results>/{query}/models/{model}/criticism.png",
    log:
        "<logs>/criticize_query/{query}/{model}.log",
    benchmark:
        "<benchmarks>/criticize_query/{query}/{model}.tsv"
    wildcard_constraints:
        model=one_of(CRITICIZED),
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=criticism_mem_mb(**CRITICISM),
        runtime=minutes(60),
    params:
        **CRITICISM,
        revision=revision("criticize_query"),
        kind=lambda w: MODELS[w.model]["type"],
        split=lambda w: w.query.removesuffix(f"/{HELD_OUT}").split("/")[-1],
        cells=lambda w: "query" if w.query.startswith("queries/") else "held-out",
        seed=CONFIG["seed"],
    script:
        "../scripts/criticize_model.py"


rule write_criticism_page:
    input:
        **of_criticized_queries(),
        **figures_of_criticism(),
        usual="<results>/evaluation/criticism.csv",
    output:
        page="<results>/report/criticism.html",
    log:
        "<logs>/write_criticism_page.log",
    benchmark:
        "<benchmarks>/write_criticism_page.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(10),
    params:
        revision=revision("write_criticism_page"),
    script:
        "../scripts/write_criticism_page.py"
