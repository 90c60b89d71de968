# in:  everything above
# out: a file and a page of each query; the scores, the provenance of all results, and the index of the report


# Reads nothing of the reference: one more query costs what that query costs.
rule export_query:
    input:
        **of_models(
            latent="<results>/queries/{name}/models/{model}/latent.parquet",
            umap="<results>/queries/{name}/models/{model}/umap.parquet",
        ),
        **if_labelled(
            labels="<results>/queries/{name}/labels.csv",
            verdict="<results>/queries/{name}/verdict.json",
        ),
        files=lambda w: files_of(query_row(w.name)),
        check="<results>/queries/{name}/check.json",
        cells="<results>/queries/{name}/cells.parquet",
        counts="<results>/queries/{name}/counts.h5ad",
    output:
        cells="<results>/queries/{name}/{name}.h5ad",
    log:
        "<logs>/export_query/{name}.log",
    benchmark:
        "<benchmarks>/export_query/{name}.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=1),
        runtime=minutes(60),
    params:
        revision=revision("export_query"),
        row=lambda w: query_row(w.name),
        genes=CONFIG["export"]["genes"],
        shown=CONFIG["deliver"]["model"],
    script:
        "../scripts/export_query.py"


# Of results of the query, and of small tables of the reference.
rule write_query_page:
    input:
        unpack(shown_of_query),
        background="<results>/reference/background.parquet",
        exported="<results>/queries/{name}/{name}.h5ad",
        cells="<results>/queries/{name}/cells.parquet",
        counts="<results>/queries/{name}/counts.h5ad",
        check="<results>/queries/{name}/check.json",
        figure="<results>/queries/{name}/umap.png",
        latent=f"<results>/queries/{{name}}/models/{CONTROL_MODEL}/latent.parquet",
    output:
        page="<results>/report/queries/{name}.html",
        summary="<results>/queries/{name}/summary.json",
    log:
        "<logs>/write_query_page/{name}.log",
    benchmark:
        "<benchmarks>/write_query_page/{name}.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=8),
        runtime=minutes(30),
    params:
        **({"spatial": "links to the page of places"} if SPATIAL else {}),
        revision=revision("write_query_page"),
        settings={key: CONFIG["report"][key] for key in ("max_cells", "columns")},
    script:
        "../scripts/write_query_page.py"


# After every job but the report's own, because a job that has not ended has left no record to gather.
rule record_provenance:
    input:
        unpack(reported),
        **of_queries(check="<results>/queries/{name}/check.json"),
        exported=reference_for_people(),
        page="<results>/report/reference.html",
        project_log="<results>/report/log.json",
        updated_trees=updated_trees(),
        contrasts=contrast_pages(),
        expression=page_of_expression(),
        model_markers=page_of_model_markers(),
        spatial=page_of_spatial(),
        clonotypes=page_of_clonotypes(),
    output:
        provenance="<results>/provenance.json",
    log:
        "<logs>/record_provenance.log",
    benchmark:
        "<benchmarks>/record_provenance.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    params:
        revision=revision("record_provenance"),
        known={
            "dataset": list(DATASETS),
            "name": list(QUERIES),
            "query": [
                *(f"queries/{name}" for name in QUERIES),
                *(f"evaluation/{fold}/{HELD_OUT}" for fold in PREPARED_FOLDS),
            ],
            "model": list(MODELS),
            "split": ["reference", *(f"evaluation/{fold}" for fold in PREPARED_FOLDS)],
            "fold": list(PREPARED_FOLDS),
            **({"trial": list_of_trials()} if TUNED else {}),
            **({"contrast": list(CONTRASTS)} if CONTRASTS else {}),
            **({"pair": list(PAIRS)} if EXPRESSION else {}),
            **({"external": list(EXTERNAL)} if EXTERNAL else {}),
            **({"receptor_model": list(RECEPTOR_MODELS)} if RECEPTOR_MODELS else {}),
        },
        config=CONFIG,
    script:
        "../scripts/record_provenance.py"


rule write_report:
    input:
        unpack(reported),
        provenance="<results>/provenance.json",
    output:
        page="<results>/report/index.html",
        config="<results>/report/config.yaml",
    log:
        "<logs>/write_report.log",
    benchmark:
        "<benchmarks>/write_report.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(30),
    params:
        **identity_of_atlas(),
        revision=revision("write_report"),
        config=CONFIG,
        left_out=LEFT_OUT,
    script:
        "../scripts/write_report.py"


rule collect_transfer:
    input:
        **of_queries(
            SCORED,
            scores="<results>/queries/{name}/scores.csv",
            label_scores="<results>/queries/{name}/label_scores.csv",
            reliability="<results>/queries/{name}/reliability.csv",
        ),
        **of_folds(
            held_out_scores=f"<results>/evaluation/{{fold}}/{HELD_OUT}/scores.csv",
            held_out_label_scores=f"<results>/evaluation/{{fold}}/{HELD_OUT}/label_scores.csv",
            held_out_reliability=f"<results>/evaluation/{{fold}}/{HELD_OUT}/reliability.csv",
        ),
    output:
        transfer="<results>/evaluation/transfer.csv",
        labels="<results>/evaluation/transfer_labels.csv",
        reliability="<results>/evaluation/transfer_reliability.csv",
        figure=report(
            "<results>/evaluation/transfer.png",
            caption="../report/transfer.rst",
            category="Evaluation",
            labels={"figure": "labels of held-out batches"},
        ),
    log:
        "<logs>/collect_transfer.log",
    benchmark:
        "<benchmarks>/collect_transfer.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500),
        runtime=minutes(10),
    params:
        revision=revision("collect_transfer"),
    script:
        "../scripts/collect_transfer.py"
