# What is said and checked before the first job, and said after the last one.

import atexit
import gc
import re
import time
from functools import cache
from inspect import signature
from io import TextIOWrapper
from types import FunctionType

from snakemake.common import overwrite_function_params
from snakemake.logging import logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from whyrobust.study.code_version import KEPT
from whyrobust.study.described_models import check_described_models
from whyrobust.study.display_names import ALL_COMPARISONS
from whyrobust.study.finished_work import describe
from whyrobust.study.layout import (
    describe_older_layout,
    describe_unwritable,
    write_layout,
)
from whyrobust.study.rerun_reasons import Planned, explain
from whyrobust.study.stages import STAGES
from whyrobust.study.stopped_jobs import describe_stopped, last_message, why_stopped

STARTED = time.time()


def stop_where_a_model_cannot_be_built():
    """Stop before any plan where a run is to be trained with a model that cannot be built, or not for its images."""
    used = {STUDY.runs[name].model for name in STUDY.trained}
    try:
        check_described_models(CONFIG, used, Path.cwd())
    except ConfigError as error:
        raise WorkflowError(str(error)) from error


def stop_where_downloads_are_missing():
    """Stop before any work where a file that a planned job would download has no address."""
    planned = [
        str(path)
        for job in workflow.dag.needrun_jobs()
        if job.rule.name == RULE_NAME("download_source")
        for path in job.output
    ]
    missing = STUDY.missing_downloads(planned)
    if missing:
        raise WorkflowError(missing)


def stop_where_the_key_for_flickr_is_missing():
    """Stop before any work where a planned job would ask Flickr and the user's key is not in the environment."""
    planned = {job.rule.name for job in workflow.dag.needrun_jobs()}
    missing = missing_key(CONFIG.imagenet_captions, os.environ)
    if missing and RULE_NAME("fetch_flickr_texts") in planned:
        raise WorkflowError(missing)


def stop_where_gpus_are_missing():
    """Stop before any work where a planned job of this machine needs GPUs that it does not have."""
    if CONFIG.training.device != "cuda" or not workflow.local_exec or workflow.touch:
        return
    # Imported by studies of GPUs only: it may ask torch.
    from whyrobust.training.gpu_locks import why_no_job_can_start

    needed = [
        job.resources.get("gpu", 0)
        for job in workflow.dag.needrun_jobs()
        if "gpu" in job.rule.resources
    ]
    missing = why_no_job_can_start(max(1, *needed)) if needed else ""
    if missing:
        raise WorkflowError(missing)


def planned(job):
    """Return what the plan says about a job."""
    reason, records = workflow.dag.reason(job), workflow.persistence
    there = [os.path.exists(path) for path in job.output]
    made = [records.metadata(path) is not None for path in job.output]
    lost = any(known and not found for known, found in zip(made, there))
    changed = reason.params_changed
    return Planned(
        stage=job.rule.name,
        is_there=all(there),
        is_lost=lost,
        has_failed=lost and any(last_message(Path(log)) for log in job.log),
        has_record=any(made),
        is_forced=reason.forced,
        was_stopped=bool(reason.incomplete_output),
        has_newer_inputs=bool(reason.updated_input - reason.updated_input_run),
        has_other_inputs=bool(reason.input_changed),
        before=frozenset(changed.only_old) if changed else frozenset(),
        now=frozenset(changed.only_new) if changed else frozenset(),
    )


def explained_plan():
    """Return what of the results that are there would be done again, and why, in lines."""
    jobs = [planned(job) for job in workflow.dag.needrun_jobs() if job.output]
    older = describe_older_layout(Path(RESULTS))
    return [line for line in (older, *explain(jobs, RESULTS)) if line]


def mark_layout():
    """Write the number of the layout into the folder of the study, if a planned job writes there; stop if none can."""
    made = (str(path) for job in workflow.dag.needrun_jobs() for path in job.output)
    if any(path.startswith(f"{RESULTS}/") for path in made):
        problem = describe_unwritable(Path(RESULTS))
        if problem:
            raise WorkflowError(problem)
        write_layout(Path(RESULTS))


def explain_dry_run(record, explained=[]):
    """Let every record pass, and explain the plan before the second of its two tables, where all jobs count as done."""
    if getattr(record, "event", None) == LogEvent.RUN_INFO:
        if explained:
            for line in explained.pop():
                logger.warning(line)
        else:
            explained.append(explained_plan())
            skip_hidden_lines()
    return True


def skip_hidden_lines():
    """Spare a dry run the formatting of what it says of each job where that is not shown.

    Resources are found all the same, so that an expression that is wrong stops a dry run.
    """
    settings, scheduler = workflow.output_settings, workflow.scheduler
    # Its own affair, so that a version without it is as good.
    executor = getattr(scheduler, "_executor", None)
    # Another logger may write what the terminal does not show.
    shown = (
        Quietness.RULES not in (settings.quiet or ()) or settings.log_handler_settings
    )
    if executor and not shown:
        executor.printjob = lambda job: job.resources


def is_no_noise(record):
    """Tell whether a record says more than that the next jobs are looked for, which Snakemake says for each job."""
    text = str(record.msg)
    return not re.fullmatch(
        r"Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.", text
    )


def schedule_at_ends_of_jobs():
    """Let Snakemake look for jobs to start where one has ended, and at no other time, if jobs run on this machine.

    Its limit of jobs a second, made for clusters, lets it look at all waiting jobs again a second later, and from then
    on every second, for each job that has ended: after 200 jobs this takes a third of a core.
    """
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


def write_any_letters():
    """Let letters that the user's locale lacks be written by their numbers, in the terminal and in Snakemake's log."""
    for handler in logger.handlers:
        stream = getattr(handler, "stream", None)
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def plan_quickly():
    """Spare Snakemake what it would do again for each of thousands of jobs (docs/dev/optimisation.md, "Planning")."""
    # What a plan is made of is held to its end, so there is next to no garbage to look for, ...
    gc.set_threshold(200_000, 20, 20)
    if workflow.output_settings.dryrun:
        gc.disable()
    # ... and at the end it need not be freed object by object.
    atexit.register(gc.freeze)
    # Where the copy of a script is, which it finds three times for each job that has the script. Its own affair, so that
    # a version without it is as good.
    if find := getattr(workflow.sourcecache, "_cache", None):
        workflow.sourcecache._cache = cache(find)


def state_arguments():
    """State what arguments the functions of rules have: Snakemake asks 33 times a job, and inspects a function each time."""
    for stage in workflow.rules:
        resources = stage.resources.values()
        # Snakemake's own affair, so that a version without it is as good.
        evaluators = [getattr(resource, "_evaluator", None) for resource in resources]
        for function in (*stage.input, *stage.params, *evaluators, stage.priority):
            if isinstance(function, FunctionType):
                overwrite_function_params(function, signature(function).parameters)
        for evaluate in filter(None, [getattr(r, "evaluate", None) for r in resources]):
            overwrite_function_params(evaluate.__func__, signature(evaluate).parameters)


def show_summary():
    """Print what was asked for in words: the causes, or what is known of the data; and where the page is."""
    asked = {job.rule.name for job in workflow.dag.targetjobs}
    folder, page = (
        ("data", "data.html")
        if asked == {RULE_NAME("check_data")}
        else ("", "report.html")
    )
    summary, page = Path(RESULTS, folder, "summary.txt"), Path(RESULTS, folder, page)
    if FINISHED_WORK:
        logger.info(describe(FINISHED_WORK, Path(RESULTS, "logs")))
    # The page of an earlier call says nothing of this one.
    made = {Path(path) for job in workflow.dag.jobs for path in job.output}
    if {summary, page} <= made and summary.exists() and page.exists():
        short, _, rest = summary.read_text(encoding="utf-8").partition(ALL_COMPARISONS)
        where = f"{ALL_COMPARISONS}: {summary}\n" if rest else ""
        # `make peek` says itself where its page is: these paths would be those of the study that still runs.
        logger.info(short if CONFIG.unfinished else f"{short}{where}Report: {page}")


def show_what_stopped():
    """Print what jobs said that stopped, below all else: a line for each data set where these were asked for."""
    asked, logs = {job.rule.name for job in workflow.dag.targetjobs}, Path(
        RESULTS, "logs"
    )
    if asked == {RULE_NAME("check_data")}:
        stopped = why_stopped(logs, STARTED)
        head = "Verdict: the data cannot be used as they are."
    else:
        stopped = [] if DISPLAYED else describe_stopped(logs, STARTED)
        head = "Stopped; the log of each job that failed, and what it said last:"
    if stopped:
        logger.error(head + "".join(f"\n  {line}" for line in stopped))
        logger.addFilter(is_no_ending)


def is_no_ending(record):
    """Tell whether a record says more than that a job failed and where Snakemake's own log is."""
    return not re.match(
        r"(WorkflowError:\s*)?At least one job|Complete log", str(record.msg)
    )


def jobs_of_plan():
    """Return the jobs of the plan for the display, in the order of the stages."""
    # Imported where there is a display only: it takes rich and tqdm.
    from whyrobust.terminal.job_names import JobNames

    names = JobNames(STUDY)
    order = {RULE_NAME(stage.name): place for place, stage in enumerate(STAGES)}
    jobs = [
        names.job(
            workflow.dag.jobid(job),
            job.rule.name,
            job.wildcards_dict,
            job.threads,
            job.log,
        )
        for job in workflow.dag.needrun_jobs()
        if job.output
    ]
    return sorted(jobs, key=lambda job: (order.get(job.stage, len(order)), job.label))


def cores_of_study():
    """Return how many cores the jobs of the study may use together; None on a cluster, where nobody knows."""
    if not workflow.local_exec:
        return None
    given = workflow.resource_settings.cores or 1
    return min(given, len(cores.usable_cores())) if cores.are_shared() else given


def show_study():
    """Put a live display in the place of Snakemake's lines, if there is a terminal for it; return whether there is."""
    settings = workflow.output_settings
    if dry_run or settings.verbose or settings.printshellcmds or settings.debug_dag:
        return False
    if {Quietness.ALL, Quietness.PROGRESS} & set(settings.quiet or ()):
        return False
    try:
        from whyrobust.terminal.display import show_display
    except ImportError:  # rich is not installed: Snakemake's own lines do
        return False
    return show_display(logger, STUDY.name, cores_of_study(), jobs_of_plan)


# What was found in the code of stages, for the next start.
atexit.register(KEPT.save)

if workflow.is_main_process:
    stop_where_a_model_cannot_be_built()
    write_any_letters()
    plan_quickly()
    # A dry run shows the whole plan all the same.
    dry_run = workflow.output_settings.dryrun
    missing = STUDY.missing_downloads(STUDY.downloads_used) if dry_run else ""
    no_key = missing_key(STUDY.built_captions, os.environ) if dry_run else ""
    for warning in filter(None, [*STUDY.warnings, missing, no_key]):
        logger.warning(warning)
    DISPLAYED = show_study()
    logger.addFilter(is_no_noise)
    if dry_run:
        logger.addFilter(explain_dry_run)


onstart:
    # A study may run for days, and be killed.
    KEPT.save()
    stop_where_downloads_are_missing()
    stop_where_the_key_for_flickr_is_missing()
    stop_where_gpus_are_missing()
    schedule_at_ends_of_jobs()
    for line in explained_plan():
        logger.warning(line)
    used = cores.cores_in_use()
    if used:
        logger.warning(
            f"Another study uses {used} of the {len(cores.usable_cores())} cores of this machine: jobs wait for free ones."
        )
        if stopped := cores.stopped_holders():
            logger.warning(f"But {cores.how_to_go_on(stopped)}.")
    mark_layout()


onsuccess:
    show_summary()


onerror:
    show_what_stopped()
