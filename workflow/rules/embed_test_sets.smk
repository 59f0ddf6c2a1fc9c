rule embed_test_sets:
    input:
        weights="<results>/runs/{run}/model.safetensors",
        model=model_of,
        classes=config["data"]["classes"],
        images=expand("<results>/images/{test_set}.arrow", test_set=TEST_SETS),
        kept=expand("<results>/decontaminated/{test_set}.parquet", test_set=TEST_SETS),
        fitting_subsets=fitting_subsets_of,
        fitting_images=lambda wildcards: expand(
            "<results>/images/{name}.arrow", name=fitting_components_of(wildcards)
        ),
    output:
        embeddings="<results>/embeddings/{run}.safetensors",
    log:
        "<logs>/embed_test_sets/{run}.log",
    benchmark:
        "<benchmarks>/embed_test_sets/{run}.tsv"
    conda:
        GPU_ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        mem_mb=config["training"]["mem_mb"],
        runtime=evaluation_minutes(),
        gpu=1 if config["training"]["device"] == "cuda" else 0,
    params:
        test_sets=TEST_SETS,
        prompts=prompts_of,
        fitted_on=lambda wildcards: list(fitting_sources_of(wildcards.run)),
        device=config["training"]["device"],
        loader_threads=config["training"]["loader_threads"],
        code=code_of("embed_test_sets"),
    script:
        "../scripts/embed_test_sets.py"
