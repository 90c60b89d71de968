# in:  the reference's cells; the latent spaces and labels of held-out cells
# out: held-out folds (results/evaluation/FOLD); how labels are calibrated (results/evaluation/calibration.json); scores of integration
#      (integration.csv) and of labels against known ones, beside baselines (transfer.csv)


# By labels of the datasets, not of the annotation: so a new annotation trains no fold again, unless a label is to be hidden.
rule plan_fold:
    input:
        **of_datasets(
            dataset_cells=CELLS if CONFIG["evaluation"]["hide"] else "cells.parquet"
        ),
    output:
        cells="<results>/evaluation/{fold}/fold.parquet",
        fold="<results>/evaluation/{fold}/fold.json",
    log:
        "<logs>/plan_fold/{fold}.log",
    benchmark:
        "<benchmarks>/plan_fold/{fold}.tsv"
    group:
        shared(group_of_split)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=60),
        runtime=minutes(10),
    params:
        **({"labels_follow": True} if ANNOTATED_MODEL else {}),
        revision=revision("plan_fold"),
        fold=lambda w: PREPARED_FOLDS[w.fold],
        unit=CONFIG["evaluation"]["unit"],
        needs_proteins=bool(models_with_proteins(CONFIG)),
        seed=CONFIG["seed"],
    script:
        "../scripts/plan_fold.py"


rule hold_out:
    input:
        **of_datasets(scan="scan.json", cells="cells.parquet", genes="genes.parquet"),
        # The names of the reference's proteins, which the held-out cells' are matched to.
        reference="<results>/evaluation/{fold}/counts.h5ad" if WITH_PROTEINS else [],
        files=[file for row in DATASETS.values() for file in files_of(row)],
        selected="<results>/evaluation/{fold}/genes.parquet",
        fold="<results>/evaluation/{fold}/fold.parquet",
        plan="<results>/evaluation/{fold}/fold.json",
    output:
        counts=f"<results>/evaluation/{{fold}}/{HELD_OUT}/counts.h5ad",
        cells=f"<results>/evaluation/{{fold}}/{HELD_OUT}/cells.parquet",
    log:
        "<logs>/hold_out/{fold}.log",
    benchmark:
        "<benchmarks>/hold_out/{fold}.tsv"
    group:
        shared(group_of_split)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=1),
        runtime=minutes(60),
    params:
        revision=revision("hold_out"),
        rows=DATASETS,
        seed=lambda w: [CONFIG["seed"], *w.fold.encode()],
        proteins=CONFIG["evaluation"]["proteins"],
    script:
        "../scripts/hold_out.py"


# What a type looks like that the reference lacks: each label is hidden in turn from the matched baseline alone.
rule hide_labels:
    input:
        reference=read_by_queries("evaluation/{fold}"),
        held_out=f"<results>/evaluation/{{fold}}/{HELD_OUT}/counts.h5ad",
        cells=f"<results>/evaluation/{{fold}}/{HELD_OUT}/{CELLS}",
    output:
        hidden=f"<results>/evaluation/{{fold}}/{HELD_OUT}/hidden.parquet",
    log:
        "<logs>/hide_labels/{fold}.log",
    benchmark:
        "<benchmarks>/hide_labels/{fold}.tsv"
    group:
        shared(group_of_fold)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=2500, per_input_mb=12, of="held_out"),
        runtime=minutes(120),
    params:
        revision=revision("hide_labels"),
        seed=CONFIG["seed"],
    script:
        "../scripts/hide_labels.py"


rule calibrate:
    input:
        **{
            f"labels:{fold}:{model}": f"<results>/evaluation/{fold}/{HELD_OUT}/models/{model}/labels.parquet"
            for fold in FOLDS
            for model in MODELS
        },
        **{
            f"external:{fold}:{source}": f"<results>/evaluation/{fold}/{HELD_OUT}/external/{source}/labels.parquet"
            for fold in FOLDS
            for source in EXTERNAL
        },
        **{
            key: path
            for fold in FOLDS
            for key, path in of_matched(
                f"<results>/evaluation/{fold}/{HELD_OUT}", f":{fold}"
            ).items()
        },
        **of_folds(
            CALIBRATION_FOLDS,
            hidden=f"<results>/evaluation/{{fold}}/{HELD_OUT}/hidden.parquet",
        ),
        **of_folds(cells=f"<results>/evaluation/{{fold}}/{HELD_OUT}/{CELLS}"),
        **of_datasets(dataset_cells=CELLS),
    output:
        **of_folds(
            delivered=f"<results>/evaluation/{{fold}}/{HELD_OUT}/delivered.parquet",
            sources=f"<results>/evaluation/{{fold}}/{HELD_OUT}/sources.parquet",
        ),
        calibration="<results>/evaluation/calibration.json",
    log:
        "<logs>/calibrate.log",
    benchmark:
        "<benchmarks>/calibrate.tsv"
    group:
        shared("evaluation")
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(60),
    params:
        revision=revision("calibrate"),
        folds=CALIBRATION_FOLDS,
        source=delivered_source(CONFIG),
        alpha=CONFIG["deliver"]["alpha"],
        novel=CONFIG["deliver"]["novel"],
    script:
        "../scripts/calibrate.py"


rule measure_held_out:
    input:
        **of_models(
            fit=f"<results>/evaluation/{{fold}}/{HELD_OUT}/models/{{model}}/fit.parquet",
            mapping=f"<results>/evaluation/{{fold}}/{HELD_OUT}/models/{{model}}/mapping.json",
            latent=f"<results>/evaluation/{{fold}}/{HELD_OUT}/models/{{model}}/latent.parquet",
            reference_latent="<results>/evaluation/{fold}/models/{model}/latent.parquet",
        ),
        delivered=f"<results>/evaluation/{{fold}}/{HELD_OUT}/delivered.parquet",
        cells=f"<results>/evaluation/{{fold}}/{HELD_OUT}/{CELLS}",
        counts=f"<results>/evaluation/{{fold}}/{HELD_OUT}/counts.h5ad",
        reference=read_by_queries("evaluation/{fold}"),
        baseline=f"<results>/evaluation/{{fold}}/models/{BASELINE}/model.pt",
    output:
        measures=f"<results>/evaluation/{{fold}}/{HELD_OUT}/measures.json",
    log:
        "<logs>/measure_held_out/{fold}.log",
    benchmark:
        "<benchmarks>/measure_held_out/{fold}.tsv"
    group:
        shared("evaluation")
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=4),
        runtime=minutes(60),
    params:
        revision=revision("measure_held_out"),
        seed=CONFIG["seed"],
    script:
        "../scripts/measure_held_out.py"


# Held-out cells are all controls: their shares of distant cells are the usual ones.
use rule run_mapqc as run_mapqc_held_out with:
    input:
        **of_datasets(dataset_cells="cells.parquet"),
        reference=f"<results>/evaluation/{{fold}}/models/{CONTROL_MODEL}/latent.parquet",
        query=f"<results>/evaluation/{{fold}}/{HELD_OUT}/models/{CONTROL_MODEL}/latent.parquet",
        cells=f"<results>/evaluation/{{fold}}/{HELD_OUT}/cells.parquet",
    output:
        scores=f"<results>/evaluation/{{fold}}/{HELD_OUT}/mapqc.parquet",
        summary=f"<results>/evaluation/{{fold}}/{HELD_OUT}/mapqc.json",
    log:
        "<logs>/run_mapqc_held_out/{fold}.log",
    benchmark:
        "<benchmarks>/run_mapqc_held_out/{fold}.tsv"
    wildcard_constraints:
        fold=one_of(CALIBRATION_FOLDS),
    group:
        shared("evaluation")


rule collect_integration:
    input:
        **of_models(scores="<results>/reference/models/{model}/integration.csv"),
    output:
        table="<results>/evaluation/integration.csv",
    log:
        "<logs>/collect_integration.log",
    benchmark:
        "<benchmarks>/collect_integration.tsv"
    group:
        shared("integration")
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    params:
        revision=revision("collect_integration"),
    script:
        "../scripts/collect_integration.py"


# From the matched baseline alone. calibrate, which waits for all models, learns the same of it, and also from hidden labels,
# which take half of the time: here, all measures of novelty count alike.
rule calibrate_quick:
    input:
        **{
            key: path
            for fold in CALIBRATION_FOLDS
            for key, path in of_matched(
                f"<results>/evaluation/{fold}/{HELD_OUT}", f":{fold}"
            ).items()
        },
        **of_folds(
            CALIBRATION_FOLDS,
            cells=f"<results>/evaluation/{{fold}}/{HELD_OUT}/{CELLS}",
        ),
        **of_datasets(dataset_cells=CELLS),
    output:
        calibration="<results>/evaluation/quick/calibration.json",
    log:
        "<logs>/calibrate_quick.log",
    benchmark:
        "<benchmarks>/calibrate_quick.tsv"
    priority: 60
    group:
        shared("evaluation")
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(60),
    params:
        revision=revision("calibrate_quick"),
        alpha=CONFIG["deliver"]["alpha"],
    script:
        "../scripts/calibrate_quick.py"
