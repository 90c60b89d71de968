# in:  trained models of the atlas and of folds, their counts; the checks of held-out cells
# out: posterior predictive checks of training and validation cells, and all of them in one table, which queries are compared with


# Also of folds: held-out cells are compared with the training cells of their own reference.
rule criticize_reference:
    input:
        model="<results>/{split}/models/{model}/model.pt",
        counts=f"<results>/{{split}}/{COUNTS}",
    output:
        table="<results>/{split}/models/{model}/criticism.csv",
        genes="<results>/{split}/models/{model}/criticism_genes.parquet",
        figure="<results>/{split}/models/{model}/criticism.png",
    log:
        "<logs>/criticize_reference/{split}/{model}.log",
    benchmark:
        "<benchmarks>/criticize_reference/{split}/{model}.tsv"
    wildcard_constraints:
        model=one_of(CRITICIZED),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=criticism_mem_mb(**CRITICISM),
        runtime=minutes(60),
    params:
        **CRITICISM,
        revision=revision("criticize_reference"),
        kind=lambda w: MODELS[w.model]["type"],
        split=lambda w: w.split.split("/")[-1],
        cells="reference",
        pretrained=lambda w: bool(settings_of(w).get("pretrained")),
        seed=CONFIG["seed"],
    script:
        "../scripts/criticize_model.py"


# Folds that hide a label are left out: their held-out cells are not sound.
rule collect_criticism:
    input:
        tables=expand(
            "<results>/{place}/models/{model}/criticism.csv",
            place=[
                "reference",
                *(f"evaluation/{fold}" for fold in CALIBRATION_FOLDS),
                *(f"evaluation/{fold}/{HELD_OUT}" for fold in CALIBRATION_FOLDS),
            ],
            model=CRITICIZED,
        ),
    output:
        table="<results>/evaluation/criticism.csv",
    log:
        "<logs>/collect_criticism.log",
    benchmark:
        "<benchmarks>/collect_criticism.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    params:
        revision=revision("collect_criticism"),
    script:
        "../scripts/collect_criticism.py"
