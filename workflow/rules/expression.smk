# in:  trained models, counts and latent spaces of the reference and the queries; the section expression of the configuration
# out: normalised expression of all cells, cells of one batch decoded as of another with support and errors, and their page
MODEL_OF_EXPRESSION = EXPRESSION["model"]
SPACE = f"models/{MODEL_OF_EXPRESSION}"
COUNTS_OF_EXPRESSION = (
    COUNTS if reads_labels(MODELS[MODEL_OF_EXPRESSION]["type"]) else "counts.h5ad"
)


def counts_of_end(query):
    """The counts that hold a batch: of the reference for None, of a query otherwise."""
    if query is None:
        return f"<results>/reference/{COUNTS_OF_EXPRESSION}"
    return f"<results>/queries/{query}/counts.h5ad"


def labels_of_pair(wildcards):
    """Cells of the query of a pair with their delivered labels; nothing without one."""
    query = query_in(PAIRS[wildcards.pair])
    if query is None:
        return {}
    folder = f"<results>/queries/{query}"
    return {
        "query_cells": f"{folder}/cells.parquet",
        "query_labels": f"{folder}/labels.csv",
    }


def model_of_pair(wildcards):
    """The model that knows both batches of a pair, what it was made of, and latent spaces of both."""
    query = query_in(PAIRS[wildcards.pair])
    folder = "<results>/reference" if query is None else f"<results>/queries/{query}"
    found = {
        "model": f"{folder}/{SPACE}/model.pt",
        "model_counts": counts_of_end(query),
        "counts": counts_of_end(PAIRS[wildcards.pair]["from_query"]),
        "latent": f"<results>/reference/{SPACE}/latent.parquet",
    }
    return found | (
        {"query_latent": f"{folder}/{SPACE}/latent.parquet"} if query else {}
    )


# Ahead of training, so that a batch or a gene that does not exist is refused before it.
rule check_expression:
    input:
        **of_datasets(dataset_cells="cells.parquet"),
        **of_queries(
            dict.fromkeys(filter(None, map(query_in, PAIRS.values()))),
            query_cells="<results>/queries/{name}/cells.parquet",
        ),
        genes="<results>/reference/genes.parquet",
    output:
        check="<results>/expression/check.json",
    log:
        "<logs>/check_expression.log",
    benchmark:
        "<benchmarks>/check_expression.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=10),
        runtime=minutes(10),
    params:
        revision=revision("check_expression"),
        genes=lambda w: EXPRESSION["genes"],
        pairs=PAIRS,
    script:
        "../scripts/check_expression.py"


# One thread: the draws of a cell do not depend on the number of threads.
rule normalize_expression:
    input:
        check="<results>/expression/check.json",
        model=f"<results>/{{source}}/{SPACE}/model.pt",
        counts=lambda w: counts_of_end(
            w.source.removeprefix("queries/") if w.source != "reference" else None
        ),
    output:
        cells="<results>/expression/{source}.h5ad",
    log:
        "<logs>/normalize_expression/{source}.log",
    benchmark:
        "<benchmarks>/normalize_expression/{source}.tsv"
    wildcard_constraints:
        source="reference|queries/[^/]+",
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=1,
        mem_mb=scaled_mem_mb(base=4000, per_input_mb=0.5),
        runtime=minutes(60, per_input_mb=2, of="counts"),
    params:
        revision=revision("normalize_expression"),
        model=MODEL_OF_EXPRESSION,
        n_samples=EXPRESSION["n_samples"],
        seed=CONFIG["seed"],
    script:
        "../scripts/normalize_expression.py"


rule predict_counterfactual:
    input:
        unpack(model_of_pair),
        unpack(labels_of_pair),
        **of_datasets(dataset_cells=CELLS),
        check="<results>/expression/check.json",
    output:
        cells="<results>/counterfactual/{pair}/expression.h5ad",
        support="<results>/counterfactual/{pair}/support.csv",
        changes="<results>/counterfactual/{pair}/changes.csv",
    log:
        "<logs>/predict_counterfactual/{pair}.log",
    benchmark:
        "<benchmarks>/predict_counterfactual/{pair}.tsv"
    wildcard_constraints:
        pair=one_of(PAIRS),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=1,
        mem_mb=scaled_mem_mb(base=4000, per_input_mb=2),
        runtime=minutes(60, per_input_mb=8, of="counts"),
    params:
        revision=revision("predict_counterfactual"),
        pair=lambda w: PAIRS[w.pair],
        model=MODEL_OF_EXPRESSION,
        n_samples=EXPRESSION["n_samples"],
        seed=CONFIG["seed"],
    script:
        "../scripts/predict_counterfactual.py"


# Trains scVI anew on the two batches: once on all of their cells, and once without each of some labels in the other batch.
rule check_counterfactual:
    input:
        unpack(labels_of_pair),
        **of_datasets(dataset_cells=CELLS),
        support="<results>/counterfactual/{pair}/support.csv",
        counts=lambda w: counts_of_end(PAIRS[w.pair]["from_query"]),
        other_counts=lambda w: counts_of_end(PAIRS[w.pair]["to_query"]),
    output:
        errors="<results>/counterfactual/{pair}/error.csv",
    log:
        "<logs>/check_counterfactual/{pair}.log",
    benchmark:
        "<benchmarks>/check_counterfactual/{pair}.tsv"
    wildcard_constraints:
        pair=one_of(PAIRS),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=1,
        mem_mb=scaled_mem_mb(base=4000, per_input_mb=2),
        runtime=minutes(240),
    params:
        revision=revision("check_counterfactual"),
        pair=lambda w: PAIRS[w.pair],
        checks=EXPRESSION["checks"],
        settings=check_settings(CONFIG, MODEL_OF_EXPRESSION),
        n_samples=EXPRESSION["n_samples"],
        seed=CONFIG["seed"],
    script:
        "../scripts/check_counterfactual.py"


rule write_expression_page:
    input:
        **of_each(PAIRS, "pair", tables_of_pairs()),
        files=files_of_expression(),
    output:
        page="<results>/report/expression.html",
    log:
        "<logs>/write_expression_page.log",
    benchmark:
        "<benchmarks>/write_expression_page.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500),
        runtime=minutes(30),
    params:
        revision=revision("write_expression_page"),
        section=EXPRESSION,
        pairs=PAIRS,
        files=[file.removeprefix("<results>/") for file in files_of_expression()],
    script:
        "../scripts/write_expression_page.py"
