rule download_source:
    input:
        pinned="resources/sources.tsv",
    output:
        archive=ARCHIVE,
    params:
        name="iconify",
        code=code_of("download_source"),
    log:
        "<logs>/download_source.log",
    resources:
        mem_mb=1000,
        runtime=30,
    script:
        "../scripts/download_source.py"
