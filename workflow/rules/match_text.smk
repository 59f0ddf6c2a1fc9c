rule match_text:
    input:
        records=lambda wildcards: expand(
            "<results>/records/{part}.parquet",
            part=DATASETS[wildcards.icon_source]["part"],
        ),
        kept="<results>/decontaminated/{icon_source}.parquet",
        classes=config["data"]["classes"],
        nouns=config["data"]["nouns"],
    output:
        labels="<results>/text_match/{icon_source}.parquet",
        matches="<results>/text_match/{icon_source}.csv",
    log:
        "<logs>/match_text/{icon_source}.log",
    conda:
        "../../envs/whyrobust.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        fields=config["data"]["text_match"]["fields"],
        policy=config["data"]["text_match"]["policy"],
        code=code_of("match_text"),
    script:
        "../scripts/match_text.py"
