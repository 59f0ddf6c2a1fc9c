rule draw_subset:
    input:
        kept=lambda wildcards: expand(
            "<results>/decontaminated/{name}.parquet",
            name=PLAN.components[wildcards.source],
        ),
        reference=lambda wildcards: expand(
            "<results>/decontaminated/{name}.parquet",
            name=config["sources"][wildcards.source].get("match_classes_of", []),
        ),
        matched=lambda wildcards: expand(
            "<results>/decontaminated/{name}.parquet", name=matched_with(wildcards)
        ),
    output:
        subset="<results>/subsets/{source}/{train_images}_images_seed_{seed}.parquet",
    log:
        "<logs>/draw_subset/{source}_{train_images}_{seed}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: subset_threads
    resources:
        mem_mb=memory_of(2000, 30),
        runtime=30,
    params:
        components=lambda wildcards: PLAN.components[wildcards.source],
        facts=lambda wildcards: config["sources"][wildcards.source],
        matched_with=lambda wildcards: matched_with(wildcards),
        allowed_shortfall_share=config["data"]
        .get("match_sizes", {})
        .get("allowed_shortfall_share", 0),
        code=code_of("draw_subset"),
    script:
        "../scripts/draw_subset.py"
