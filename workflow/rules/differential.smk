# in:  the users' files, for the conditions and samples of cells and the counts of all their genes; the labels of cells
# out: what differs between conditions within each label, by pseudobulk, and which labels have more or fewer cells
#      (results/differential/CONTRAST), and a page in the report;
#      included only if the configuration names contrasts


wildcard_constraints:
    contrast=one_of(CONTRASTS),


# Ahead of training, so that a design that cannot be fitted is refused before it.
rule plan_contrast:
    input:
        unpack(
            of_compared(
                datasets={"report": "scan.json", "cells": "cells.parquet"},
                queries={"report": "check.json", "cells": "cells.parquet"},
            )
        ),
    output:
        cells="<results>/differential/{contrast}/cells.parquet",
        design="<results>/differential/{contrast}/design.csv",
        notes="<results>/differential/{contrast}/design.json",
    log:
        "<logs>/plan_contrast/{contrast}.log",
    benchmark:
        "<benchmarks>/plan_contrast/{contrast}.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=2),
        runtime=minutes(30),
    params:
        revision=revision("plan_contrast"),
        rows=compared_rows,
        contrast=lambda w: CONTRASTS[w.contrast],
    script:
        "../scripts/plan_contrast.py"


# Over all genes of the users' files, read in blocks.
rule compare_conditions:
    input:
        unpack(
            of_compared(
                datasets={
                    "report": "scan.json",
                    "cells": CELLS,
                    "genes": "genes.parquet",
                },
                queries={
                    "report": "check.json",
                    "cells": "cells.parquet",
                    "genes": "genes.parquet",
                    "labels": "labels.csv",
                },
            )
        ),
        cells="<results>/differential/{contrast}/cells.parquet",
        design="<results>/differential/{contrast}/design.csv",
        notes="<results>/differential/{contrast}/design.json",
        gene_sets=gene_set_file(CONFIG["differential"]) or [],
    output:
        genes="<results>/differential/{contrast}/genes.csv",
        samples="<results>/differential/{contrast}/samples.csv",
        enrichment="<results>/differential/{contrast}/enrichment.csv",
        summary="<results>/differential/{contrast}/summary.json",
        volcano=report(
            "<results>/differential/{contrast}/volcano.png",
            caption="../report/volcano.rst",
            category="Contrasts",
            labels={"contrast": "{contrast}", "figure": "volcano plots"},
        ),
        ma="<results>/differential/{contrast}/ma.png",
    log:
        "<logs>/compare_conditions/{contrast}.log",
    benchmark:
        "<benchmarks>/compare_conditions/{contrast}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=2500, per_input_mb=2),
        runtime=minutes(240, per_input_mb=0.2),
    params:
        revision=revision("compare_conditions"),
        rows=compared_rows,
        contrast=lambda w: CONTRASTS[w.contrast],
    script:
        "../scripts/compare_conditions.py"


# Over all cells, labelled or not: their numbers alone, without the users' files.
rule compare_abundance:
    input:
        unpack(
            of_compared(
                datasets={"cells": CELLS},
                queries={"cells": "cells.parquet", "labels": "labels.csv"},
                with_files=False,
            )
        ),
        cells="<results>/differential/{contrast}/cells.parquet",
        design="<results>/differential/{contrast}/design.csv",
    output:
        labels="<results>/differential/{contrast}/abundance.csv",
        samples="<results>/differential/{contrast}/abundance_samples.csv",
        notes="<results>/differential/{contrast}/abundance.json",
        figure=report(
            "<results>/differential/{contrast}/abundance.png",
            caption="../report/abundance.rst",
            category="Contrasts",
            labels={"contrast": "{contrast}", "figure": "abundance"},
        ),
    log:
        "<logs>/compare_abundance/{contrast}.log",
    benchmark:
        "<benchmarks>/compare_abundance/{contrast}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=20),
        runtime=minutes(30),
    params:
        revision=revision("compare_abundance"),
        contrast=lambda w: CONTRASTS[w.contrast],
    script:
        "../scripts/compare_abundance.py"


# Of programs and proteins, as a model has them for each cell.
rule compare_features:
    input:
        unpack(
            of_compared(
                datasets={"cells": CELLS},
                queries={"cells": "cells.parquet", "labels": "labels.csv"},
                with_files=False,
            )
        ),
        unpack(compared_features),
        cells="<results>/differential/{contrast}/cells.parquet",
        design="<results>/differential/{contrast}/design.csv",
    output:
        features="<results>/differential/{contrast}/models/{model}/features.csv",
        notes="<results>/differential/{contrast}/models/{model}/features.json",
        figure=report(
            "<results>/differential/{contrast}/models/{model}/features.png",
            caption="../report/features.rst",
            category="Contrasts",
            labels={"contrast": "{contrast}", "figure": "features of {model}"},
        ),
    log:
        "<logs>/compare_features/{contrast}/{model}.log",
    benchmark:
        "<benchmarks>/compare_features/{contrast}/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=8),
        runtime=minutes(30),
    params:
        revision=revision("compare_features"),
        contrast=lambda w: CONTRASTS[w.contrast],
        kind=kind_of_features,
    script:
        "../scripts/compare_features.py"


# Where in a latent space the groups differ in density, whatever the labels. Apart from the figure, which needs a UMAP.
rule compare_density:
    input:
        unpack(
            of_compared(
                datasets={"cells": CELLS},
                queries={"cells": "cells.parquet", "labels": "labels.csv"},
                with_files=False,
            )
        ),
        unpack(density_models),
        cells="<results>/differential/{contrast}/cells.parquet",
        design="<results>/differential/{contrast}/design.csv",
    output:
        cells="<results>/differential/{contrast}/models/{model}/density.parquet",
        labels="<results>/differential/{contrast}/models/{model}/density.csv",
        notes="<results>/differential/{contrast}/models/{model}/density.json",
    log:
        "<logs>/compare_density/{contrast}/{model}.log",
    benchmark:
        "<benchmarks>/compare_density/{contrast}/{model}.tsv"
    wildcard_constraints:
        model=one_of(WITH_POSTERIOR),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=1,
        mem_mb=scaled_mem_mb(base=4000, per_input_mb=0.5),
        runtime=minutes(60, per_input_mb=0.5),
    params:
        revision=revision("compare_density"),
        contrast=lambda w: CONTRASTS[w.contrast],
        seed=CONFIG["seed"],
    script:
        "../scripts/compare_density.py"


rule draw_density:
    input:
        unpack(density_umaps),
        cells="<results>/differential/{contrast}/models/{model}/density.parquet",
        labels="<results>/differential/{contrast}/models/{model}/density.csv",
    output:
        figure=report(
            "<results>/differential/{contrast}/models/{model}/density.png",
            caption="../report/density.rst",
            category="Contrasts",
            labels={"contrast": "{contrast}", "figure": "density in {model}"},
        ),
    log:
        "<logs>/draw_density/{contrast}/{model}.log",
    benchmark:
        "<benchmarks>/draw_density/{contrast}/{model}.tsv"
    wildcard_constraints:
        model=one_of(WITH_POSTERIOR),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(30),
    params:
        revision=revision("draw_density"),
        contrast=lambda w: CONTRASTS[w.contrast],
    script:
        "../scripts/draw_density.py"


rule write_contrast_page:
    input:
        unpack(features_of_contrast),
        unpack(density_of_contrast),
        abundance="<results>/differential/{contrast}/abundance.csv",
        abundance_notes="<results>/differential/{contrast}/abundance.json",
        abundance_figure="<results>/differential/{contrast}/abundance.png",
        genes="<results>/differential/{contrast}/genes.csv",
        samples="<results>/differential/{contrast}/samples.csv",
        enrichment="<results>/differential/{contrast}/enrichment.csv",
        summary="<results>/differential/{contrast}/summary.json",
        volcano="<results>/differential/{contrast}/volcano.png",
        ma="<results>/differential/{contrast}/ma.png",
    output:
        page="<results>/report/contrasts/{contrast}.html",
    log:
        "<logs>/write_contrast_page/{contrast}.log",
    benchmark:
        "<benchmarks>/write_contrast_page/{contrast}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=8),
        runtime=minutes(10),
    params:
        revision=revision("write_contrast_page"),
    script:
        "../scripts/write_contrast_page.py"
