# Captions, and labels found in text.


rule assemble_captions:
    input:
        records=file(
            "<results>/records/{}.parquet", DATASETS.records_of_texts, "text_slice"
        ),
        classes=CONFIG.data.classes,
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
        slice=value(DATASETS.text_slice, "text_slice"),
        variants=value(STUDY.caption_variants_of, "text_slice"),
        template=lambda wildcards: CONFIG.caption_template,
        seed=CONFIG.data.seed,
        code=code_of("assemble_captions"),
    script:
        "../scripts/assemble_captions.py"


rule match_text:
    input:
        records=file(
            "<results>/records/{}.parquet", DATASETS.records_of_texts, "text_slice"
        ),
        kept=file(
            "<results>/decontaminated/{}.parquet",
            DATASETS.dataset_of_texts,
            "text_slice",
        ),
        classes=CONFIG.data.classes,
        nouns=CONFIG.data.nouns or [],
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
        slice=value(DATASETS.text_slice, "text_slice"),
        fields=list(CONFIG.data.text_match.fields),
        policy=CONFIG.data.text_match.policy,
        shared=CONFIG.data.shared_names,
        code=code_of("match_text"),
    script:
        "../scripts/match_text.py"
