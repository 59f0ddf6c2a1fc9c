rule match_text:
    input:
        records=lambda wildcards: records_path(wildcards.plain_source),
        kept="<results>/decontaminated/{plain_source}.parquet",
        classes=config["data"]["classes"],
        nouns=config["data"].get("nouns", []),
    output:
        labels="<results>/text_match/{plain_source}.parquet",
        matches="<results>/text_match/{plain_source}.csv",
    log:
        "<logs>/match_text/{plain_source}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: 2
    resources:
        mem_mb=memory_of(2000, 10),
        runtime=600,
    params:
        fields=config["data"]["text_match"]["fields"],
        policy=config["data"]["text_match"]["policy"],
        shared=config["data"]["shared_names"],
        code=code_of("match_text"),
    script:
        "../scripts/match_text.py"
