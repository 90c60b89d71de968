# in:  trained models of the reference, its counts, and the markers of the plain test
# out: markers of labels and clusters by these models, how far the two agree, and a page in the report;
#      included only if the configuration names models for it


# One thread: the draws of a cell do not depend on the number of threads.
rule find_model_markers:
    input:
        unpack(groups_of_markers),
        model="<results>/reference/models/{model}/model.pt",
        counts=f"<results>/reference/{COUNTS}",
    output:
        markers="<results>/reference/models/{model}/model_markers/{grouping}.parquet",
        top="<results>/reference/models/{model}/model_markers/{grouping}_top.csv",
        agreement="<results>/reference/models/{model}/model_markers/{grouping}_agreement.csv",
        figure=report(
            "<results>/reference/models/{model}/model_markers/{grouping}.png",
            caption="../report/model_markers.rst",
            category="Reference",
            labels={
                "model": "{model}",
                "figure": "markers of {grouping} by the model",
            },
        ),
    log:
        "<logs>/find_model_markers/{model}/{grouping}.log",
    benchmark:
        "<benchmarks>/find_model_markers/{model}/{grouping}.tsv"
    wildcard_constraints:
        model=one_of(MARKERS["models"]),
        grouping=one_of(MARKERS["groups"]),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=1,
        mem_mb=marker_mem_mb(MARKERS["cells"], MARKERS["n_samples"]),
        runtime=minutes(240),
    params:
        revision=revision("find_model_markers"),
        settings={k: v for k, v in MARKERS.items() if k not in ("models", "groups")},
        seed=CONFIG["seed"],
    script:
        "../scripts/find_model_markers.py"


rule write_model_marker_page:
    input:
        **of_model_markers(
            agreement="{grouping}_agreement.csv",
            top="{grouping}_top.csv",
            figure="{grouping}.png",
        ),
    output:
        page="<results>/report/model_markers.html",
    log:
        "<logs>/write_model_marker_page.log",
    benchmark:
        "<benchmarks>/write_model_marker_page.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=8),
        runtime=minutes(10),
    params:
        revision=revision("write_model_marker_page"),
        settings=MARKERS,
    script:
        "../scripts/write_model_marker_page.py"
