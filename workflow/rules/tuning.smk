# in:  counts of the split of tuning, and of the cells that it holds out; those of the fold that judges, and labels by its model
# out: trials of a model's settings, the chosen ones, which its trainings read, and what they gain; only where the config tunes models


rule run_trial:
    input:
        **of_datasets(dataset_cells=CELLS),
        counts=lambda w: f"<results>/evaluation/{TUNING}/{counts_of_model(w)}",
        query=f"<results>/evaluation/{TUNING}/{HELD_OUT}/counts.h5ad",
        cells=f"<results>/evaluation/{TUNING}/{HELD_OUT}/{CELLS}",
        files=setting_files_of,
    output:
        trial="<results>/tuning/{model}/trials/{trial}/trial.json",
        labels="<results>/tuning/{model}/trials/{trial}/labels.parquet",
        training="<results>/tuning/{model}/trials/{trial}/training.csv",
    log:
        "<logs>/run_trial/{model}/{trial}.log",
    benchmark:
        "<benchmarks>/run_trial/{model}/{trial}.tsv"
    wildcard_constraints:
        model=one_of(TUNED),
        trial=r"\d+",
    priority: 60
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=gpus_of,
        mem_mb=trial_mem_mb(MODELS, CONFIG["memory"]),
        runtime=minutes_by_type(MODELS, on_gpu=minutes(960), on_cpu=minutes(300)),
        checkpoint_seconds=CHECKPOINT_SECONDS,
    params:
        revision=revision("run_trial"),
        from_disk=CONFIG["memory"]["from_disk"],
        settings=trial_settings,
        # Of trial 0 nothing is drawn: it stays as it is whatever is tried beside it.
        space=lambda w: {} if w.trial == "0" else TUNED[w.model]["space"],
        sampler=lambda w: None if w.trial == "0" else TUNED[w.model]["sampler"],
        k=CONFIG["transfer"]["k"],
        seed=CONFIG["seed"],
    script:
        "../scripts/run_trial.py"


# The settings of the configuration, on the fold that judges.
use rule run_trial as run_defaults with:
    input:
        **of_datasets(dataset_cells=CELLS),
        counts=lambda w: f"<results>/evaluation/{JUDGING_FOLD}/{counts_of_model(w)}",
        query=f"<results>/evaluation/{JUDGING_FOLD}/{HELD_OUT}/counts.h5ad",
        cells=f"<results>/evaluation/{JUDGING_FOLD}/{HELD_OUT}/{CELLS}",
        files=setting_files_of,
    output:
        trial="<results>/tuning/{model}/defaults/trial.json",
        labels="<results>/tuning/{model}/defaults/labels.parquet",
        training="<results>/tuning/{model}/defaults/training.csv",
    log:
        "<logs>/run_defaults/{model}.log",
    benchmark:
        "<benchmarks>/run_defaults/{model}.tsv"
    params:
        revision=revision("run_trial"),
        from_disk=CONFIG["memory"]["from_disk"],
        settings=trial_settings,
        space={},
        sampler=None,
        k=CONFIG["transfer"]["k"],
        seed=CONFIG["seed"],


# A checkpoint: only once the choice is made is it known whether anything is to be trained again.
checkpoint choose_setting:
    input:
        unpack(trials_of),
    output:
        best="<results>/tuning/{model}/best.json",
        trials="<results>/tuning/{model}/trials.csv",
        figure=report(
            "<results>/tuning/{model}/trials.png",
            caption="../report/tuning.rst",
            category="Tuning",
            labels={"model": "{model}", "figure": "trials"},
        ),
    log:
        "<logs>/choose_setting/{model}.log",
    benchmark:
        "<benchmarks>/choose_setting/{model}.tsv"
    wildcard_constraints:
        model=one_of(TUNED),
    priority: 60
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=20),
        runtime=minutes(60),
    params:
        revision=revision("choose_setting"),
        names=lambda w: list(TUNED[w.model]["space"]),
        seed=CONFIG["seed"],
    script:
        "../scripts/choose_setting.py"


rule measure_gain:
    input:
        unpack(compared_with_defaults),
        tuning=f"<results>/evaluation/{TUNING}/fold.json",
        fold=f"<results>/evaluation/{JUDGING_FOLD}/fold.json",
    output:
        gain="<results>/tuning/{model}/gain.json",
    log:
        "<logs>/measure_gain/{model}.log",
    benchmark:
        "<benchmarks>/measure_gain/{model}.tsv"
    wildcard_constraints:
        model=one_of(TUNED),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=20),
        runtime=minutes(60),
    params:
        revision=revision("measure_gain"),
        seed=CONFIG["seed"],
    script:
        "../scripts/measure_gain.py"


rule write_tuning_page:
    input:
        **of_each(
            TUNED,
            "model",
            {
                "trials": "<results>/tuning/{model}/trials.csv",
                "figure": "<results>/tuning/{model}/trials.png",
                "best": "<results>/tuning/{model}/best.json",
                "gain": "<results>/tuning/{model}/gain.json",
            },
        ),
    output:
        page="<results>/report/tuning.html",
    log:
        "<logs>/write_tuning_page.log",
    benchmark:
        "<benchmarks>/write_tuning_page.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(10),
    params:
        revision=revision("write_tuning_page"),
        names={model: list(entry["space"]) for model, entry in TUNED.items()},
    script:
        "../scripts/write_tuning_page.py"
