# in:  small files of the datasets, the models and each query
# out: what lists of queries show of each query, the project log, and the numbers of the run for MultiQC


# The lists read this small file of each query, and no file with a row for each cell. It is not in the group of the query:
# group_novel is in none where a user's markers may be refused, and must end before this.
rule summarize_query:
    input:
        **of_models(mapping="<results>/queries/{name}/models/{model}/mapping.json"),
        **if_labelled(
            labels="<results>/queries/{name}/labels.csv",
            verdict="<results>/queries/{name}/verdict.json",
            **(
                {"novel_groups": "<results>/queries/{name}/novel_groups.csv"}
                if CLUSTERED
                else {}
            ),
        ),
        check="<results>/queries/{name}/check.json",
    output:
        summary="<results>/queries/{name}/summary.json",
    log:
        "<logs>/summarize_query/{name}.log",
    benchmark:
        "<benchmarks>/summarize_query/{name}.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=2),
        runtime=minutes(10),
    params:
        revision=revision("summarize_query"),
    script:
        "../scripts/summarize_query.py"


rule write_project_log:
    input:
        **of_datasets(scan="scan.json"),
        **of_models(
            training="<results>/reference/models/{model}/training.md",
            checksum="<results>/reference/models/{model}/model.pt.sha256",
        ),
        **of_each(
            CLUSTERED,
            "model",
            {"stability": "<results>/reference/models/{model}/cluster_stability.csv"},
        ),
        **of_queries(summary="<results>/queries/{name}/summary.json"),
        integration="<results>/evaluation/integration.csv",
    output:
        json="<results>/report/log.json",
        markdown="<results>/report/log.md",
        multiqc=directory("<results>/report/multiqc"),
    log:
        "<logs>/write_project_log.log",
    benchmark:
        "<benchmarks>/write_project_log.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    params:
        revision=revision("write_project_log"),
        seed=CONFIG["seed"],
    script:
        "../scripts/write_project_log.py"
