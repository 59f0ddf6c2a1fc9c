# Trained and published models.


rule train_run:
    input:
        subset=subset_of,
        images=source_images_of,
        captions=captions_of,
        matched_labels=matched_labels_of,
        pretrained=pretrained_of,
        classes=config["data"]["classes"],
        model=model_of,
    output:
        weights="<results>/runs/{run}/model.safetensors",
        progress="<results>/runs/{run}/progress.csv",
        open_clip="<results>/runs/{run}/open_clip_config.json",
    log:
        "<logs>/train_run/{run}.log",
    benchmark:
        "<benchmarks>/train_run/{run}.tsv"
    wildcard_constraints:
        run=name_pattern(run.run for run in TRAINED),
    conda:
        GPU_ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        mem_mb=2500,
        runtime=120,
        # GPUs that train one run together; without them, processes that do.
        gpu=1 if config["training"]["device"] == "cuda" else 0,
        processes=1,
        # Machines that these are spread over, evenly; more than one needs SLURM.
        nodes=1,
        # Minutes and training steps between two checkpoints; 0 for none.
        checkpoint_minutes=10,
        checkpoint_steps=0,
        # Threads of each process that decode photographs.
        loader_threads=1,
    params:
        run=run_of,
        hyperparameters=hyperparameters_of,
        device=config["training"]["device"],
        image_size=config["data"]["image_size"],
        normalisation=config["data"]["normalisation"],
        checkpoint=checkpoint_of,
        precision=config["training"]["precision"],
        compile=config["training"]["compile"],
        images_at_once=config["training"]["images_at_once"],
        shuffle_block_images=config["training"]["shuffle_block_images"],
        shuffle_window_blocks=config["training"]["shuffle_window_blocks"],
        code=code_of("train_run"),
    script:
        "../scripts/train_run.py"


rule import_pretrained:
    output:
        weights="<results>/runs/{published}/model.safetensors",
        open_clip="<results>/runs/{published}/open_clip_config.json",
    log:
        "<logs>/import_pretrained/{published}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        published=published_of,
        code=code_of("import_pretrained"),
    script:
        "../scripts/import_pretrained.py"
