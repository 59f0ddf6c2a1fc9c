rule join_slices:
    input:
        records=lambda wildcards: slice_files(wildcards, "records/{}.parquet"),
        counts=lambda wildcards: slice_files(wildcards, "records/{}_counts.csv"),
        presence=lambda wildcards: slice_files(wildcards, "records/{}_presence.json"),
        images=lambda wildcards: slice_files(wildcards, "images/{}.arrow"),
        ink=lambda wildcards: slice_files(wildcards, "images/{}_ink.npy"),
        failures=lambda wildcards: slice_files(wildcards, "images/{}_failures.csv"),
    output:
        records="<results>/records/{sliced_dataset}.parquet",
        counts="<results>/records/{sliced_dataset}_counts.csv",
        images="<results>/images/{sliced_dataset}.arrow",
        ink="<results>/images/{sliced_dataset}_ink.npy",
        failures="<results>/images/{sliced_dataset}_failures.csv",
    log:
        "<logs>/join_slices/{sliced_dataset}.log",
    benchmark:
        "<benchmarks>/join_slices/{sliced_dataset}.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        facts=lambda wildcards: checked_facts_of(wildcards.sliced_dataset),
        allowed_failure_share=config["data"]["allowed_failure_share"],
        code=code_of("join_slices"),
    script:
        "../scripts/join_slices.py"
