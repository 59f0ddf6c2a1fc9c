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
