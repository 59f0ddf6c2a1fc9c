# ImageNet-Captions built from ImageNet's list of addresses; all studies share it, since asking Flickr takes days.

BUILD = CONFIG.imagenet_captions


rule list_flickr_photos:
    input:
        addresses=BUILD.addresses,
        images=BUILD.images,
    output:
        photos="results/imagenet_captions/photos.parquet",
    log:
        "results/imagenet_captions/logs/list_flickr_photos.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=240,
    params:
        code=code_of("list_flickr_photos"),
    script:
        "../scripts/list_flickr_photos.py"


rule look_up_flickr_texts:
    input:
        photos="results/imagenet_captions/photos.parquet",
        metadata=BUILD.metadata or [],
    output:
        texts="results/imagenet_captions/texts/yfcc100m.parquet",
    log:
        "results/imagenet_captions/logs/look_up_flickr_texts.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=600,
    params:
        code=code_of("look_up_flickr_texts"),
    script:
        "../scripts/look_up_flickr_texts.py"


# The answers lie in a file beside the table, so that a stopped job goes on where it was. The user's key is in the
# environment of the job and in no parameter.
rule fetch_flickr_texts:
    input:
        photos="results/imagenet_captions/photos.parquet",
        known=[rules.look_up_flickr_texts.output.texts] if BUILD.metadata else [],
    output:
        texts="results/imagenet_captions/texts/flickr.parquet",
    log:
        "results/imagenet_captions/logs/fetch_flickr_texts.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=14 * 24 * 60,
    params:
        flickr=plain_values(BUILD.flickr) if BUILD.flickr else {},
        code=code_of("fetch_flickr_texts"),
    script:
        "../scripts/fetch_flickr_texts.py"


rule write_imagenet_captions:
    input:
        photos="results/imagenet_captions/photos.parquet",
        texts=[
            *([rules.look_up_flickr_texts.output.texts] if BUILD.metadata else []),
            *([rules.fetch_flickr_texts.output.texts] if BUILD.flickr else []),
        ],
        excluded_words=[BUILD.excluded_words] if BUILD.excluded_words else [],
    output:
        captions="results/imagenet_captions/imagenet_captions.json",
        counts="results/imagenet_captions/counts.csv",
    log:
        "results/imagenet_captions/logs/write_imagenet_captions.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        code=code_of("write_imagenet_captions"),
    script:
        "../scripts/write_imagenet_captions.py"


rule compare_imagenet_captions:
    input:
        captions="results/imagenet_captions/imagenet_captions.json",
        published=BUILD.published,
    output:
        compared="results/imagenet_captions/compared.csv",
    log:
        "results/imagenet_captions/logs/compare_imagenet_captions.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        code=code_of("compare_imagenet_captions"),
    script:
        "../scripts/compare_imagenet_captions.py"
