rule list_pairs:
    input:
        subset=lambda wildcards: DATASETS[wildcards.photo_dataset]["subset"],
        metadata=lambda wildcards: DATASETS[wildcards.photo_dataset]["metadata"],
    output:
        pairs="<results>/pairs/{photo_dataset}.parquet",
    log:
        "<logs>/list_pairs/{photo_dataset}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=6000,
        runtime=600,
    params:
        code=code_of("list_pairs"),
    script:
        "../scripts/list_pairs.py"
