rule draw_subset:
    input:
        kept="<results>/decontaminated/{source}.parquet",
    output:
        subset="<results>/subsets/{source}/{train_images}_images_seed_{seed}.parquet",
    log:
        "<logs>/draw_subset/{source}_{train_images}_{seed}.log",
    conda:
        "../../envs/whyrobust.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_of("draw_subset"),
    script:
        "../scripts/draw_subset.py"
