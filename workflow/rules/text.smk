# Captions, a file per variant, so that another variant trains no run again; and labels found in text.

from whyrobust.study.caption_tables import caption_settings


rule assemble_captions:
    input:
        records=file(
            "<results>/records/{}.parquet", DATASETS.records_of_texts, "text_slice"
        ),
        classes=lambda wildcards: (
            CONFIG.data.classes if wildcards.caption == "template" else []
        ),
    output:
        captions="<results>/captions/{caption}/{text_slice}.parquet",
    log:
        "<logs>/assemble_captions/{caption}/{text_slice}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=memory_of(2000, 10),
        runtime=240,
    params:
        slice=value(DATASETS.text_slice, "text_slice"),
        settings=value(
            lambda variant: caption_settings(
                variant, CONFIG.caption_template, CONFIG.data.seed
            ),
            "caption",
        ),
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
    priority: LONGEST_CHAIN
    conda:
        "../../envs/whyrobust-cpu.yaml"
    # Two for millions of texts; a job of one starts where one core is free, and runs wait for it.
    threads: for_photographs(2, else_use=1)
    resources:
        mem_mb=memory_of(2000, 10),
        runtime=600,
    params:
        slice=value(DATASETS.text_slice, "text_slice"),
        fields=list(CONFIG.data.text_match.fields),
        policy=CONFIG.data.text_match.policy,
        shared=CONFIG.data.shared_names,
        possessives=CONFIG.data.text_match.possessives,
        code=code_of("match_text"),
    script:
        "../scripts/match_text.py"
