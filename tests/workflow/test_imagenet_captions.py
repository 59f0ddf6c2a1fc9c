"""ImageNet-Captions built by the workflow: what its config plans, and that the user's key stays in the environment."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.flickr_replica import KEY, make_replica, serve_flickr
from tests.workflow.test_dag import planned_jobs
from whyrobust.study.caption_build import BUILT_CAPTIONS, CaptionBuild, FlickrSettings, missing_key
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.study import Study

BUILD = {"list_flickr_photos", "fetch_flickr_texts", "write_imagenet_captions"}
COMPARED = "results/imagenet_captions/compared.csv"


def with_build(root, **changes):
    """Return the paper's study on what is built, as Snakemake merges its two config files, and changes of the build."""
    config, addition = (
        yaml.safe_load((root / "config" / name).read_text(encoding="utf-8"))
        for name in ("paper.yaml", "imagenet-captions.yaml")
    )
    config["sources"]["imagenet_captions"] |= addition["sources"]["imagenet_captions"]
    build = addition["imagenet_captions"] | changes
    return config | {"imagenet_captions": {key: value for key, value in build.items() if value is not None}}


def test_the_config_plans_the_build_and_nothing_else(root, workspace, snakemake):
    done = snakemake(workspace, "--dry-run", "--configfile", str(root / "config/paper.yaml"),
                     str(root / "config/imagenet-captions.yaml"), "--", COMPARED)  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert planned_jobs(output) == dict.fromkeys(BUILD | {"compare_imagenet_captions"}, 1) | {"download_source": 3}
    assert "downloads/imagenet_fall11_urls.tgz (ImageNet's list of addresses" in output
    assert "FLICKR_API_KEY must have your key" in output


def test_the_workflow_builds_the_list_and_writes_the_key_nowhere(root, workspace, snakemake, monkeypatch):
    monkeypatch.delenv("FLICKR_API_KEY", raising=False)
    replica = make_replica(60, seed=2)
    for photo in replica.photos.values():  # what fails for the moment would be waited for
        photo.answer = photo.answer if photo.answer in ("gone", "denied", "video") else "ok"
    replica.write(workspace)
    rows, _ = replica.expected()
    (workspace / "published.json").write_text(json.dumps(rows[1:]), encoding="utf-8")
    with serve_flickr(replica.photos) as flickr:
        changes = {"addresses": "fall11_urls.txt", "images": "train.txt", "published": "published.json",
                   "flickr": {"address": flickr.address, "requests_per_hour": 10**9}}  # fmt: skip
        (workspace / "mine.yaml").write_text(yaml.safe_dump(with_build(root, **changes)), encoding="utf-8")
        call = (workspace, "--cores", "1", "--configfile", "mine.yaml", "--", COMPARED)
        without = snakemake(*call)
        assert without.returncode != 0 and "FLICKR_API_KEY must have your key" in without.stdout + without.stderr
        assert not (workspace / "results").exists() and not flickr.seen
        monkeypatch.setenv("FLICKR_API_KEY", KEY)
        done = snakemake(*call)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((workspace / BUILT_CAPTIONS).read_text(encoding="utf-8")) == rows
    assert f"in both,{len(rows) - 1}," in (workspace / COMPARED).read_text()
    written = [path.read_bytes() for path in workspace.rglob("*") if path.is_file()]
    assert len(written) > 15 and KEY not in done.stdout + done.stderr
    assert not any(KEY.encode() in content for content in written)


def test_a_study_on_what_is_built_has_its_stages(root):
    study = Study.load(with_build(root), root)
    assert set(study.stages) >= BUILD and "look_up_flickr_texts" not in study.stages
    assert "downloads/imagenet_fall11_urls.tgz" in study.downloads_used
    assert not study.is_given(BUILT_CAPTIONS)
    looked_up = Study.load(with_build(root, metadata="downloads/yfcc100m_dataset.bz2", flickr=None), root)
    assert set(looked_up.stages) >= BUILD - {"fetch_flickr_texts"} | {"look_up_flickr_texts"}
    assert "fetch_flickr_texts" not in looked_up.stages
    config = with_build(root)
    config["sources"]["imagenet_captions"]["annotations"] = "downloads/imagenet_captions.zip"
    assert not BUILD & set(Study.load(config, root).stages)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"flickr": None}, "imagenet_captions needs one of flickr .* and metadata"),
        ({"addresses": "none.txt"}, "imagenet_captions.addresses is 'none.txt': there is no such file"),
        ({"images": None}, "imagenet_captions.images is missing"),
        ({"flickr": {"address": "http://www.flickr.com/services/rest/"}}, "flickr.address is 'http:.*allowed is https"),
        ({"flickr": {"address": "http://127.0.0.1.example.org/"}}, "allowed is https"),
        ({"flickr": {"key_variable": "0123abc"}}, "key_variable"),
        ({"flickr": {"key": "0123abc"}}, "flickr.key is not known"),
        ({"flickr": {"requests_per_hour": 0}}, "requests_per_hour"),
    ],
)
def test_a_build_that_cannot_be_is_one_line(root, changes, reason):
    with pytest.raises(ConfigError, match=reason) as told:
        Study.load(with_build(root, **changes), root)
    assert "\n" not in str(told.value)


def test_what_is_built_is_no_source_where_nothing_says_how(root):
    config = with_build(root)
    del config["imagenet_captions"]
    with pytest.raises(ConfigError, match=r"annotations is 'results/.*: there is no such file"):
        Study.load(config, root)


def test_no_study_has_the_folder_of_what_is_built(root):
    with pytest.raises(ConfigError, match="a folder that all studies share"):
        Study.load(with_build(root) | {"study": "imagenet_captions"}, root)


def test_a_key_is_needed_where_flickr_is_asked():
    build = CaptionBuild(addresses="a", images="b", published="c", metadata="d")
    asks = CaptionBuild(addresses="a", images="b", published="c", flickr=FlickrSettings(key_variable="MINE"))
    assert missing_key(None, {}) == missing_key(build, {}) == missing_key(asks, {"MINE": "x"}) == ""
    assert "variable MINE must have your key" in missing_key(asks, {"FLICKR_API_KEY": "x", "MINE": " "})
