rule download_source:
    output:
        archive=Path(config["downloads"], "{downloaded}").as_posix(),
    log:
        "<logs>/download_source/{downloaded}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=download_minutes,
    params:
        table=config["sources_table"],
        name=download_name,
        pinned=pinned_facts_of,
        code=code_of("download_source"),
    script:
        "../scripts/download_source.py"
