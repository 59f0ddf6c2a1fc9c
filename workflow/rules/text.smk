# Captions, and labels found in text.


rule assemble_captions:
    input:
        records=records_of_texts,
        classes=config["data"]["classes"],
    output:
        captions="<results>/captions/{text_slice}.parquet",
    log:
        "<logs>/assemble_captions/{text_slice}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=memory_of(2000, 10),
        runtime=240,
    params:
        slice=text_slice_of,
        variants=caption_variants_of,
        template=lambda wildcards: config["caption_template"],
        seed=config["data"]["seed"],
        code=code_of("assemble_captions"),
    script:
        "../scripts/assemble_captions.py"


rule match_text:
    input:
        records=records_of_texts,
        kept=kept_of_texts,
        classes=config["data"]["classes"],
        nouns=config["data"].get("nouns", []),
    output:
        labels="<results>/text_match/{text_slice}.parquet",
        matches="<results>/text_match/{text_slice}.csv",
    log:
        "<logs>/match_text/{text_slice}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: 2
    resources:
        mem_mb=memory_of(2000, 10),
        runtime=600,
    params:
        slice=text_slice_of,
        fields=config["data"]["text_match"]["fields"],
        policy=config["data"]["text_match"]["policy"],
        shared=config["data"]["shared_names"],
        code=code_of("match_text"),
    script:
        "../scripts/match_text.py"
