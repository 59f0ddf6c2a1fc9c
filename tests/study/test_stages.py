"""What a stage waits for, in a study that does not use all stages; `test_dag` compares it with the rules."""

from __future__ import annotations

from whyrobust.study.stages import STAGES, stages_before


def test_a_stage_stands_after_all_that_it_waits_for():
    order = {stage.name: number for number, stage in enumerate(STAGES)}
    assert all(order[need] < order[stage.name] for stage in STAGES for need in stage.needs)


def test_an_unused_stage_is_replaced_by_what_it_waits_for():
    used = {"download_source", "build_records", "build_images", "assemble_captions", "decontaminate", "train_run"}
    assert stages_before(used) == {
        "download_source": (),
        "build_records": ("download_source",),
        "build_images": ("build_records",),
        "assemble_captions": ("build_records",),
        "decontaminate": ("build_images",),
        "train_run": ("assemble_captions", "decontaminate"),
    }
