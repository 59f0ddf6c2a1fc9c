# Published models: from committed tables only. A study on the shifts of ImageNet shows their answers; the page is made by
# its name (make published).


rule measure_published:
    input:
        testbed=f"{REFERENCE}/imagenet_testbed_top1.csv",
        open_clip=f"{REFERENCE}/open_clip_zeroshot_top1.csv",
        other_test_sets=f"{REFERENCE}/open_clip_other_test_sets.csv",
        vlhub=f"{REFERENCE}/vlhub_top1.csv",
        timm=f"{REFERENCE}/timm_top1.csv",
        pretraining=f"{REFERENCE}/pretraining.csv",
        names=f"{REFERENCE}/published_model_names.csv",
    output:
        models="results/published/models.csv",
        effective_robustness="results/published/effective_robustness.csv",
        lines="results/published/lines.csv",
        line_differences="results/published/line_differences.csv",
        pairs="results/published/pairs.csv",
        effects="results/published/effects.csv",
        claims_by_line="results/published/claims_by_line.csv",
        indirect="results/published/indirect.csv",
        families="results/published/families.csv",
        regression="results/published/regression.csv",
        regression_contrasts="results/published/regression_contrasts.csv",
        second_axis_fits="results/published/second_axis_fits.csv",
        second_axis_residuals="results/published/second_axis_residuals.csv",
        disagreements="results/published/disagreements.csv",
        left_out="results/published/left_out.csv",
        undocumented="results/published/undocumented.csv",
    log:
        "results/published/logs/measure_published.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_of("measure_published"),
    script:
        "../scripts/measure_published.py"


rule write_published:
    input:
        models=rules.measure_published.output.models,
        effective_robustness=rules.measure_published.output.effective_robustness,
        lines=rules.measure_published.output.lines,
        line_differences=rules.measure_published.output.line_differences,
        pairs=rules.measure_published.output.pairs,
        effects=rules.measure_published.output.effects,
        claims_by_line=rules.measure_published.output.claims_by_line,
        indirect=rules.measure_published.output.indirect,
        families=rules.measure_published.output.families,
        regression=rules.measure_published.output.regression,
        regression_contrasts=rules.measure_published.output.regression_contrasts,
        second_axis_fits=rules.measure_published.output.second_axis_fits,
        second_axis_residuals=rules.measure_published.output.second_axis_residuals,
        disagreements=rules.measure_published.output.disagreements,
        left_out=rules.measure_published.output.left_out,
        undocumented=rules.measure_published.output.undocumented,
        pretraining=f"{REFERENCE}/pretraining.csv",
    output:
        report="results/published/report.html",
        figures=directory("results/published/figures"),
    log:
        "results/published/logs/write_published.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_of("write_published"),
    script:
        "../scripts/write_published.py"
