# in:  small files of the datasets, the models and each query
# out: the project log, and the numbers of the run for MultiQC


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
