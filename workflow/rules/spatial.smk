# in:  the spatial reference that the configuration names; the atlas's genes; counts and delivered labels of queries
# out: regions of the tissue with the methods that held-out spots chose (results/spatial), the places of each query's
#      cells and types (results/queries/NAME/spatial), and their page; included only if the configuration names a
#      spatial reference


# Ahead of training, so that a file without coordinates or counts is refused before it.
rule read_spots:
    input:
        files=files_of_spatial(),
        genes="<results>/reference/genes.parquet",
    output:
        spots="<results>/spatial/spots.h5ad",
        summary="<results>/spatial/spots.json",
    log:
        "<logs>/read_spots.log",
    benchmark:
        "<benchmarks>/read_spots.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=8),
        runtime=minutes(60),
    params:
        revision=revision("read_spots"),
        settings=settings_of_spatial(
            "path",
            "layer",
            "gene_key",
            "coordinates",
            "section_key",
            "region_key",
            "grids",
            "held_out",
        ),
        files=fingerprints_of_spatial(),
    script:
        "../scripts/read_spots.py"


# On the CPU, and SageNet on one thread: sums over the edges of its graph depend on their number.
rule learn_regions:
    input:
        spots="<results>/spatial/spots.h5ad",
    output:
        regions="<results>/spatial/regions.npz",
        methods="<results>/spatial/methods.csv",
        held_out="<results>/spatial/held_out_spots.csv.gz",
        tissue=report(
            "<results>/spatial/tissue.png",
            caption="../report/spatial.rst",
            category="Reference",
            labels={"figure": "regions of the tissue"},
        ),
        accuracy="<results>/spatial/accuracy.png",
    log:
        "<logs>/learn_regions.log",
    benchmark:
        "<benchmarks>/learn_regions.tsv"
    conda:
        "../../envs/refatlas.yaml"
    threads: 1
    resources:
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=20),
        runtime=minutes(120, per_input_mb=60),
    params:
        revision=revision("learn_regions"),
        settings=settings_of_spatial(
            "grids",
            "n_genes",
            "methods",
            "epochs",
            "folds",
            "held_out",
            "quantile",
        ),
        seed=CONFIG["seed"],
    script:
        "../scripts/learn_regions.py"


rule place_query:
    input:
        **types_of_query(),
        regions="<results>/spatial/regions.npz",
        spots="<results>/spatial/spots.h5ad",
        counts="<results>/queries/{name}/counts.h5ad",
        cells="<results>/queries/{name}/cells.parquet",
    output:
        cells="<results>/queries/{name}/spatial/cells.csv.gz",
        probabilities="<results>/queries/{name}/spatial/probabilities.parquet",
        types="<results>/queries/{name}/spatial/types.csv",
        distances="<results>/queries/{name}/spatial/distances.csv",
        summary="<results>/queries/{name}/spatial/summary.json",
        figure="<results>/queries/{name}/spatial/types.png",
    log:
        "<logs>/place_query/{name}.log",
    benchmark:
        "<benchmarks>/place_query/{name}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=12),
        # SageNet's graph may have an edge between any two genes.
        runtime=minutes(
            60, per_input_mb=max(1, (SPATIAL["n_genes"] / 100) ** 2), of="counts"
        ),
    params:
        revision=revision("place_query"),
        floor=CONFIG["query"]["min_gene_overlap"],
        standardize=SPATIAL["standardize"],
    script:
        "../scripts/place_query.py"


rule write_spatial_page:
    input:
        **of_queries(
            summary="<results>/queries/{name}/spatial/summary.json",
            types="<results>/queries/{name}/spatial/types.csv",
            distances="<results>/queries/{name}/spatial/distances.csv",
            figure="<results>/queries/{name}/spatial/types.png",
        ),
        spots="<results>/spatial/spots.json",
        methods="<results>/spatial/methods.csv",
        tissue="<results>/spatial/tissue.png",
        accuracy="<results>/spatial/accuracy.png",
    output:
        page="<results>/report/spatial.html",
    log:
        "<logs>/write_spatial_page.log",
    benchmark:
        "<benchmarks>/write_spatial_page.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=8),
        runtime=minutes(10),
    params:
        revision=revision("write_spatial_page"),
        settings=settings_of_spatial(
            "held_out", "folds", "n_genes", "quantile", "standardize"
        ),
    script:
        "../scripts/write_spatial_page.py"
