# Trained and published models.

from whyrobust.study.decoded_photographs import decoded_stores_of


rule train_run:
    input:
        subset=with_pattern(
            SUBSET, lambda wildcards: SUBSET.format(**STUDY.subset_of(wildcards.run))
        ),
        images=files("<results>/images/{}.arrow", STUDY.components_of),
        decoded=files(
            "<results>/decoded/{}.arrow", lambda run: decoded_stores_of(STUDY, run)
        ),
        captions=files("<results>/captions/{}.parquet", STUDY.captions_of),
        matched_labels=files(
            "<results>/text_match/{}.parquet", STUDY.matched_label_slices_of
        ),
        pretrained=files(
            "<results>/runs/{}/model.safetensors", STUDY.pretrained_runs_of
        ),
        classes=CONFIG.data.classes,
        model=value(STUDY.model_file_of),
    output:
        weights="<results>/runs/{run}/model.safetensors",
        progress="<results>/runs/{run}/progress.csv",
        open_clip="<results>/runs/{run}/open_clip_config.json",
    log:
        "<logs>/train_run/{run}.log",
    benchmark:
        "<benchmarks>/train_run/{run}.tsv"
    wildcard_constraints:
        run=trained_pattern(STUDY),
    priority: value(STUDY.priority_of)
    conda:
        GPU_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=2500,
        runtime=120,
        # GPUs that train one run together; without them, processes that do.
        gpu=GPUS,
        # Jobs that may share one GPU; a run on several has them whole.
        runs_per_gpu=RUNS_PER_GPU,
        processes=1,
        # Machines that these are spread over, evenly; more than one needs SLURM.
        nodes=1,
        # Minutes and training steps between two checkpoints; 0 for none.
        checkpoint_minutes=10,
        checkpoint_steps=0,
        # Threads of each process that decode photographs.
        loader_threads=1,
    params:
        run=value(STUDY.trained_row_of),
        hyperparameters=value(STUDY.hyperparameters_of),
        device=CONFIG.training.device,
        # Not those that `--cores` leaves: rounding depends on them.
        cpu_threads=CONFIG.training.threads,
        image_size=CONFIG.data.image_size,
        normalisation=CONFIG.data.normalisation,
        # No output: it must outlive a job that was stopped.
        checkpoint=lambda wildcards: f"{RESULTS}/checkpoints/{wildcards.run}.pt",
        precision=CONFIG.training.precision,
        compile=CONFIG.training.compile,
        repeatable=CONFIG.training.repeatable,
        images_at_once=CONFIG.training.images_at_once,
        shuffle_block_images=CONFIG.training.shuffle_block_images,
        shuffle_window_blocks=CONFIG.training.shuffle_window_blocks,
        code=code_of("train_run"),
    script:
        "../scripts/train_run.py"


rule import_pretrained:
    input:
        files=value(STUDY.published_files_of, "published"),
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
        published=value(STUDY.published_settings_of, "published"),
        code=code_of("import_pretrained"),
    script:
        "../scripts/import_pretrained.py"
