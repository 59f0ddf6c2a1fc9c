# What is said and checked before the first job, and said after the last one.

import time

from snakemake.logging import logger

from whyrobust.study.finished_work import describe
from whyrobust.study.stopped_jobs import why_stopped

STARTED = time.time()


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


def schedule_at_ends_of_jobs():
    """Let Snakemake look for jobs to start where one has ended, and at no other time, if jobs run on this machine.

    Its limit of jobs a second, made for clusters, lets it look at all waiting jobs again a second later, and from then
    on every second, for each job that has ended: after 200 jobs this takes a third of a core.
    """
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


def show_summary():
    """Print what was asked for in words: the causes, or what is known of the data; and where the page is."""
    asked = {job.rule.name for job in workflow.dag.targetjobs}
    folder, page = (
        ("data", "data.html")
        if asked == {RULE_NAME("check_data")}
        else ("", "report.html")
    )
    summary, page = Path(RESULTS, folder, "summary.txt"), Path(RESULTS, folder, page)
    if summary.exists() and page.exists():
        logger.info(summary.read_text(encoding="utf-8") + f"\nReport: {page}")
    if FINISHED_WORK:
        logger.info(describe(FINISHED_WORK, Path(RESULTS, "logs")))


def show_what_stopped():
    """Print, where the data were asked for, why they cannot be used: below all else, a line for each data set."""
    asked = {job.rule.name for job in workflow.dag.targetjobs}
    stopped = why_stopped(Path(RESULTS, "logs"), STARTED)
    if asked == {RULE_NAME("check_data")} and stopped:
        lines = "".join(f"\n  {line}" for line in stopped)
        logger.error(f"Verdict: the data cannot be used as they are.{lines}")


if workflow.is_main_process:
    # A dry run shows the whole plan all the same.
    dry_run = workflow.output_settings.dryrun
    missing = STUDY.missing_downloads(STUDY.downloads_used) if dry_run else ""
    for warning in filter(None, [*STUDY.warnings, missing]):
        logger.warning(warning)


onstart:
    stop_where_downloads_are_missing()
    schedule_at_ends_of_jobs()


onsuccess:
    show_summary()


onerror:
    show_what_stopped()
