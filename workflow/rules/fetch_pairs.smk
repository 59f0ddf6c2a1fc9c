# The shards themselves lie in a folder beside the table, so that a stopped job goes on where it was.
rule fetch_pairs:
    input:
        pairs="<results>/pairs/{photo_dataset}.parquet",
    output:
        shards="<results>/pairs/{photo_dataset}.csv",
    log:
        "<logs>/fetch_pairs/{photo_dataset}.log",
    benchmark:
        "<benchmarks>/fetch_pairs/{photo_dataset}.tsv"
    retries: 2
    conda:
        "../../envs/img2dataset.yaml"
    threads: 16
    resources:
        mem_mb=8000,
        runtime=2880,
    params:
        command=config["img2dataset"],
        shorter_side=lambda wildcards: DATASETS[wildcards.photo_dataset].get(
            "shorter_side"
        ),
        code=code_of("fetch_pairs"),
    script:
        "../scripts/fetch_pairs.py"
