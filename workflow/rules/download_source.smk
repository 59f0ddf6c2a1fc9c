rule download_source:
    input:
        pinned="resources/sources.tsv",
    output:
        archive=ARCHIVE,
    log:
        "<logs>/download_source.log",
    conda:
        "../../envs/whyrobust.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        name="iconify",
        code=code_of("download_source"),
    script:
        "../scripts/download_source.py"
