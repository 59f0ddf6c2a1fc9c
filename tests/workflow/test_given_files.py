"""Whatever a user changes under a finished study of photographs is noticed, whatever the times of the files."""

from __future__ import annotations

import os

import pytest
import yaml

from tests.data.readers.record_buffers import write_picture
from tests.studies import short_config
from tests.workflow.test_dag import planned_jobs

#: A name that a part of the icons has too.
SOURCES = {
    "web": {"kind": "image_table", "table": "mine.csv", "image": "file", "label": "class"},
}


@pytest.fixture
def finished(workspace, snakemake):
    """Make a study whose files are all there; return it and the stages that would run."""
    for name in ("photos/0.jpg", "photos/1.jpg", "test/cat/0.jpg", "test/cat/1.jpg", "test/dog/2.jpg"):
        write_picture(workspace / name)
    (workspace / "classes.csv").write_text("class\ncat\ndog\n")
    (workspace / "mine.csv").write_text("file,class\nphotos/0.jpg,cat\nphotos/1.jpg,dog\n")
    config = short_config(SOURCES, "test")
    (workspace / "config.yaml").write_text(yaml.safe_dump(config))

    def call(*arguments):
        done = snakemake(workspace, "--cores", "1", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    for row in call("--summary").splitlines():
        place = workspace / row.split("\t")[0]
        if row.startswith("results/"):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir() if not place.suffix else place.touch()
    call("--touch", "--forceall")
    return workspace, lambda *changes: set(planned_jobs(call("--dry-run", *changes))) - {"all"}


def put_back(before):
    """Give files and folders the times that they had."""
    for path, status in before.items():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_changed_picture_or_table_is_noticed_though_no_time_says_so(finished):
    study, planned = finished
    assert planned() == set()
    photo, test, classes = (study / name for name in ("photos/0.jpg", "test/cat/1.jpg", "classes.csv"))
    before = {path: path.stat() for path in (photo, test.parent, study / "test/dog")}
    content = photo.read_bytes()
    photo.write_bytes(content + b"x")  # only the table names it
    put_back(before)
    assert {"build_photo_records", "index_images", "train_run", "score_heads", "write_report"} <= planned()
    photo.write_bytes(content)
    test.rename(study / "test/dog/1.jpg")
    put_back(before)
    stages = planned()
    assert {"build_photo_records", "score_heads"} <= stages
    (study / "test/dog/1.jpg").rename(test)
    put_back(before)
    assert planned() == set()
    assert {"index_images", "train_run", "score_heads"} <= planned("--config", "data={page_colour: white}")
    classes.write_text("class\ndog\ncat\n")
    os.utime(classes, ns=(0, 0))
    assert {"build_photo_records", "train_run", "score_heads"} <= planned()
