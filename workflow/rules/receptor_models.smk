# in:  counts and receptors of the reference and of what is mapped onto it
# out: models of cells with paired T-cell receptors (results/SPLIT/receptor_models/NAME, results/QUERY/receptor_models/NAME),
#      and the labels that they give, as those of a source without a latent space (results/QUERY/external/NAME); included only
#      if a model is of such a type
#
# These models place only cells with a pair. So they are no models of the other rules, which have a place for each cell.


def receptors_of(wildcards):
    """The receptors of a {query}'s cells, which are cells of datasets if a fold holds them out."""
    if not wildcards.query.startswith("queries/"):
        return of_datasets(receptors="receptors.parquet")
    return {"receptors:query": f"<results>/{wildcards.query}/receptors.parquet"}


def settings_of_receptor_model(wildcards, *sections):
    """The settings of a model that one of its jobs depends on; in folds with at most evaluation.max_epochs."""
    settings = RECEPTOR_MODELS[wildcards.receptor_model]
    found = {key: settings[key] for key in ("type", *sections)}
    if wildcards.get("split", wildcards.get("query", "")).startswith("evaluation/"):
        return limit_epochs(found, CONFIG["evaluation"])
    return found


rule train_receptor_model:
    input:
        **of_datasets(receptors="receptors.parquet"),
        counts="<results>/{split}/counts.h5ad",
    output:
        model="<results>/{split}/receptor_models/{receptor_model}/model.pt",
        checksum="<results>/{split}/receptor_models/{receptor_model}/model.pt.sha256",
        description="<results>/{split}/receptor_models/{receptor_model}/model.json",
        training="<results>/{split}/receptor_models/{receptor_model}/training.csv",
        latent="<results>/{split}/receptor_models/{receptor_model}/latent.parquet",
        record="<results>/{split}/receptor_models/{receptor_model}/training.md",
    log:
        "<logs>/train_receptor_model/{split}/{receptor_model}.log",
    benchmark:
        "<benchmarks>/train_receptor_model/{split}/{receptor_model}.tsv"
    wildcard_constraints:
        receptor_model=one_of(RECEPTOR_MODELS),
    priority: 50
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=1,
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=12),
        runtime=minutes(720),
        checkpoint_seconds=CHECKPOINT_SECONDS,
    params:
        revision=revision("train_receptor_model"),
        settings=lambda w: settings_of_receptor_model(w, "model", "train"),
        seed=CONFIG["seed"],
    script:
        "../scripts/train_receptor_model.py"


rule map_receptor_model:
    input:
        unpack(receptors_of),
        model=of_reference("receptor_models/{receptor_model}/model.pt"),
        query="<results>/{query}/counts.h5ad",
    output:
        model="<results>/{query}/receptor_models/{receptor_model}/model.pt",
        checksum="<results>/{query}/receptor_models/{receptor_model}/model.pt.sha256",
        description="<results>/{query}/receptor_models/{receptor_model}/model.json",
        training="<results>/{query}/receptor_models/{receptor_model}/training.csv",
        latent="<results>/{query}/receptor_models/{receptor_model}/latent.parquet",
        mapping="<results>/{query}/receptor_models/{receptor_model}/mapping.json",
    log:
        "<logs>/map_receptor_model/{query}/{receptor_model}.log",
    benchmark:
        "<benchmarks>/map_receptor_model/{query}/{receptor_model}.tsv"
    wildcard_constraints:
        receptor_model=one_of(RECEPTOR_MODELS),
    priority: 50
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=1,
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=12),
        runtime=minutes(240),
        checkpoint_seconds=CHECKPOINT_SECONDS,
    params:
        revision=revision("map_receptor_model"),
        settings=lambda w: settings_of_receptor_model(w, "surgery"),
        seed=CONFIG["seed"],
    script:
        "../scripts/map_receptor_model.py"


rule label_by_receptor_model:
    input:
        **of_datasets(dataset_cells=CELLS),
        reference=of_reference("receptor_models/{receptor_model}/latent.parquet"),
        latent="<results>/{query}/receptor_models/{receptor_model}/latent.parquet",
        cells="<results>/{query}/cells.parquet",
    output:
        labels="<results>/{query}/external/{receptor_model}/labels.parquet",
        votes="<results>/{query}/external/{receptor_model}/votes.json",
    log:
        "<logs>/label_by_receptor_model/{query}/{receptor_model}.log",
    benchmark:
        "<benchmarks>/label_by_receptor_model/{query}/{receptor_model}.tsv"
    wildcard_constraints:
        receptor_model=one_of(RECEPTOR_MODELS),
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=12),
        runtime=minutes(60),
    params:
        revision=revision("label_by_receptor_model"),
        k=lambda w: RECEPTOR_MODELS[w.receptor_model]["transfer"]["k"],
    script:
        "../scripts/label_by_receptor_model.py"


# On the same cells: what these models know beyond the others, which read expression alone.
rule compare_receptor_models:
    input:
        **{
            f"{kind}:{fold}:{model}": f"<results>/evaluation/{fold}/{HELD_OUT}/{path}/{model}/labels.parquet"
            for fold in FOLDS
            for kind, path, names in (
                ("labels", "models", MODELS),
                ("external", "external", RECEPTOR_MODELS),
            )
            for model in names
        },
        **of_folds(cells=f"<results>/evaluation/{{fold}}/{HELD_OUT}/{CELLS}"),
    output:
        scores="<results>/evaluation/receptor_models.csv",
    log:
        "<logs>/compare_receptor_models.log",
    benchmark:
        "<benchmarks>/compare_receptor_models.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=12),
        runtime=minutes(30),
    params:
        revision=revision("compare_receptor_models"),
    script:
        "../scripts/compare_receptor_models.py"
