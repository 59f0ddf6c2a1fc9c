"""`make new`: each layout becomes a config that plans, with the values that its data ask for."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tests.replicas import write_tar
from tools import new_study, picture_losses
from tools.look_at_data import LookError, config_name, look_at
from tools.new_study import make, named_paths, sort_out
from whyrobust.data import photo_checks
from whyrobust.data.readers.folders import read_image_folder_dataset
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.study import Study

#: Does not decode: where none of the pictures does, nothing can be measured.
PICTURE = b"\xff\xd8 a picture"
CLASSES = ("cat", "dog", "mug")


@pytest.fixture
def folder(root, tmp_path, monkeypatch):
    """Return an empty folder in which studies are run: paths start from it."""
    (tmp_path / "resources").symlink_to(root / "resources")
    monkeypatch.chdir(tmp_path)
    # Starting a process for it takes a second.
    monkeypatch.setattr(photo_checks, "map_isolated", lambda read, tasks, *_: [[read(task) for task in tasks]])
    return tmp_path


def made(folder, *data):
    """Write a config; return it, and what the user is told."""
    told = make("mine", [folder.__class__(each) for each in data], folder)
    text = (folder / "mine.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40 and all(f"{key}" in text for key in ("# what models", "# each run"))
    return yaml.safe_load(text), told


def write_folders(folder, images, classes=CLASSES):
    for number in range(images):
        path = folder / classes[number % len(classes)] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE)


def classes_of(folder):
    return (folder / "mine-classes.csv").read_text(encoding="utf-8").split()


def test_folders_for_training_and_testing_are_what_their_names_say(folder):
    for name, images in (("train", 300), ("test", 60), ("test_sketch", 30), ("val", 30)):
        write_folders(folder / "data" / name, images, CLASSES[:2] if name == "test_sketch" else CLASSES)
    config, told = made(folder, "data")
    assert config["sources"] == {"train": {"kind": "image_folder", "folder": "data/train"}}
    assert {name: (one["role"], one["classes"]) for name, one in config["test_sets"].items()} == {
        "test": ("in_distribution", "all"), "val": ("shift", "all"), "test_sketch": ("shift", "own")
    }  # fmt: skip
    assert config["runs"][0]["train_images"] == [67, 130, 270] and config["runs"][1]["caption"] == "template"
    assert classes_of(folder) == ["class", *CLASSES] and "test_sketch has pictures of 2 of the 3" in told
    assert "no captions were found in train: CLIP learns from class names in a sentence" in told


@pytest.mark.parametrize(("images", "smallest"), [(120, 43), (600, 210)])
def test_batches_of_clip_hold_no_picture_twice(folder, images, smallest):
    write_folders(folder / "data", images)
    config, _ = made(folder, "data")
    study = Study.load(config, folder)
    assert config["runs"][1]["train_images"][0] == smallest and study.warnings == []
    assert config["training"].get("clip") == ({"batch_size": smallest} if smallest < 64 else None)


@pytest.mark.parametrize(
    ("text", "ending", "every", "taken"),
    [
        ("a cat on mat {}", "txt", 1, True),
        ("tasse numéro {}", "txt", 2, True),
        ("a cat on mat {}", "txt", 3, False),
        ("a cat on a mat", "txt", 1, False),
        ("0 0.5 0.5 0.2 {}", "txt", 1, False),
        ("<box>a cat on mat {}</box>", "txt", 1, False),
        ("https://example.org/{}", "txt", 1, False),
        ("", "txt", 1, False),
        ('{{"caption": "a cat {}"}}', "json", 1, False),
    ],
)
def test_texts_beside_pictures_are_captions_where_enough_are_there_and_hold_words(folder, text, ending, every, taken):
    write_folders(folder / "data", 120)
    for number, path in enumerate(sorted((folder / "data").rglob("*.jpg"))[::every]):
        path.with_suffix(f".{ending}").write_text(text.format(number), encoding="utf-8")
    config, told = made(folder, "data")
    assert config["sources"]["data"].get("titles_beside", False) is taken
    assert ("titles_beside: true" in (folder / "mine.yaml").read_text(encoding="utf-8")) is taken
    assert config["runs"][1]["caption"] == ("title" if taken else "template")
    assert (f"{120 // every} text files beside pictures, which are not read: give a table or shards" in told) != taken
    assert ("captions are in the .txt files beside the pictures" in told) is taken
    assert Study.load(config, folder).config.sources["data"].titles_beside is taken


def test_a_text_that_is_no_file_is_none(folder):
    write_folders(folder / "data", 120)
    for number, path in enumerate(sorted((folder / "data").rglob("*.jpg"))[2:]):
        path.with_suffix(".txt").write_text(f"a cat on mat {number}", encoding="utf-8")
    first, second, *_ = sorted((folder / "data").rglob("*.jpg"))
    first.with_suffix(".txt").symlink_to(folder / "gone.txt")
    second.with_suffix(".txt").mkdir()
    config, _ = made(folder, "data")
    assert config["sources"]["data"]["titles_beside"] is True


def test_nothing_is_said_of_texts_where_there_are_none(folder):
    write_folders(folder / "data", 120)
    config, told = made(folder, "data")
    assert "text files" not in told and "titles_beside" not in config["sources"]["data"]


def test_more_broken_pictures_than_are_allowed_are_named(folder):
    write_twins(folder / "data", 150)
    _, told = made(folder, "data")
    assert "data.allowed_failure_share" not in told
    write_folders(folder / "data", 9)
    (folder / "mine.yaml").unlink()
    (folder / "mine-classes.csv").unlink()
    _, told = made(folder, "data")
    assert "and 1.0% may: make describe would stop" in told and "data.allowed_failure_share" in told
    assert all(str(path.relative_to(folder / "data")) in told for path in (folder / "data").glob("*/?.jpg"))


def test_styles_in_folders_are_a_source_and_shifts_and_a_part_is_held_out(folder):
    for name, images in (("photo", 90), ("cartoon", 120)):
        write_folders(folder / "pacs" / name, images)
    config, _ = made(folder, "pacs")
    assert config["sources"]["cartoon"]["drawn_between"] == [0.2, 1.0]
    assert config["test_sets"]["cartoon_held_out"]["drawn_between"] == [0.0, 0.2]
    assert config["test_sets"]["photo"]["role"] == "shift" and "drawn_between" not in config["test_sets"]["photo"]


def test_two_folders_are_compared_each_with_a_test_set_of_its_own(folder):
    for name, images in (("photo", 900), ("cartoon", 1200)):
        write_folders(folder / name, images)
    config, told = made(folder, "photo", "cartoon")
    assert list(config["sources"]) == ["photo", "cartoon"] == config["runs"][0]["source"]
    own = {name: one.get("source") for name, one in config["test_sets"].items()}
    assert own == {"photo_held_out": "photo", "cartoon_held_out": "cartoon", "placebo": None}
    (comparison,) = config["causes"]["training_distribution"]
    assert (comparison["from"], comparison["to"]) == ({"source": "photo"}, {"source": "cartoon"})
    assert config["runs"][0]["train_images"][-1] == 640  # of 720 pictures of the smaller one, nine tenths
    assert "the shift is a placebo" in told and "placebo" in config["test_sets"]["placebo"]["says"]
    parts = [config["test_sets"][name]["drawn_between"] for name in ("photo_held_out", "placebo")]
    assert parts == [[0.0, 0.1], [0.1, 0.2]] and config["sources"]["photo"]["drawn_between"] == [0.2, 1.0]


def test_two_folders_with_test_sets_of_their_own_keep_them(folder):
    for name in ("photos", "drawings"):
        for split, images in (("train", 200), ("test", 40), ("val", 30)):
            write_folders(folder / name / split, images)
    config, _ = made(folder, "photos", "drawings")
    assert {name: one["folder"] for name, one in config["sources"].items()} == {
        "photos": "photos/train", "drawings": "drawings/train"
    }  # fmt: skip
    assert {name: (one["folder"], one.get("source")) for name, one in config["test_sets"].items()} == {
        "photos_test": ("photos/test", "photos"), "drawings_test": ("drawings/test", "drawings"),
        "photos_val": ("photos/val", None), "drawings_val": ("drawings/val", None),
    }  # fmt: skip


def test_captions_without_labels_need_labelled_pictures_to_test_with(folder):
    write_folders(folder / "set" / "test", 60)
    members = [(f"{n}.{end}", data) for n in range(200) for end, data in (("jpg", PICTURE), ("txt", b"a dog"))]
    write_tar(folder / "set" / "shards" / "0.tar", members)
    config, _ = made(folder, "set")
    assert config["sources"] == {"shards": {"kind": "webdataset", "shards": "set/shards"}}
    assert config["runs"][0]["labels"] == "text_match" == config["baseline"]["standard"]["labels"]
    with pytest.raises(LookError, match="shards has no labels"):
        sort_out([("shards", look_at(folder / "set" / "shards")[0])], CLASSES)


def test_a_class_in_two_spellings_is_refused_with_both(folder):
    write_folders(folder / "set" / "train", 60, [name.upper() for name in CLASSES])
    write_folders(folder / "set" / "test", 60)
    with pytest.raises(LookError, match=f"'{CLASSES[0].upper()}' of train and '{CLASSES[0]}' of test are one class"):
        made(folder, "set")
    assert not list(folder.glob("mine*"))


@pytest.mark.parametrize("header", [True, False])
def test_a_table_is_understood_by_its_names_or_by_what_it_holds(folder, header):
    (folder / "set" / "pics").mkdir(parents=True)
    names = {True: ("id", "words", "file", "what"), False: ("column_1", "column_2", "file", "column_4")}[header]
    rows = [names] if header else []
    for number in range(200):
        (folder / "set" / "pics" / f"{number}.jpg").write_bytes(PICTURE)
        label = CLASSES[number % 3]
        rows.append((str(number), f"this is a {label} no {number}", f"{number}.jpg", label))
    (folder / "set" / "list.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    config, told = made(folder, "set/list.tsv")
    assert f"captions in '{names[1]}', labels in '{names[3]}'" in told and "no captions" not in told
    source = config["sources"]["list"]
    assert [source[key] for key in ("image", "title", "label")] == [names[2], names[1], names[3]]
    assert source["root"] == "set/pics" and source.get("columns") == (None if header else list(names))
    assert config["runs"][1]["caption"] == "title" and classes_of(folder) == ["class", *CLASSES]


def test_a_table_of_classes_beside_the_data_is_taken_and_pictures_of_a_table_are_no_class_folders(folder):
    write_folders(folder / "data" / "test", 60)
    (folder / "data" / "photos").mkdir()
    lines = ["file,caption,class"]
    for number in range(100):
        (folder / "data" / "photos" / f"{number}.jpg").write_bytes(PICTURE)
        lines.append(f"{number}.jpg,my picture,{CLASSES[number % 3]}")
    (folder / "data" / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "data" / "classes.csv").write_text("class,synonyms\ncat,kitty\ndog,\nmug,\n", encoding="utf-8")
    config, _ = made(folder, "data")
    assert config["data"]["classes"] == "data/classes.csv" and not (folder / "mine-classes.csv").exists()
    assert list(config["sources"]) == ["captions"] and set(config["test_sets"]) == {"test", "placebo"}


def test_shards_of_the_hub_have_their_class_names_and_their_split(folder):
    for split, images in (("train", 120), ("test", 30)):
        members = [(f"s{n:04d}.{end}", data) for n in range(images)
                   for end, data in (("webp", PICTURE), ("cls", str(n % 3).encode()))]  # fmt: skip
        write_tar(folder / "set" / split / "0.tar", members)
    (folder / "set" / "classnames.txt").write_text("cat\ndog\nmug\n", encoding="utf-8")
    config, _ = made(folder, "set")
    shards = {"kind": "webdataset", "shards": "set/train", "class_names": "set/classnames.txt"}
    assert config["sources"] == {"train": shards} and classes_of(folder) == ["class", *CLASSES]
    assert config["test_sets"]["test"]["role"] == "in_distribution" and config["runs"][1]["caption"] == "template"


def test_prompts_of_clip_benchmarks_layout_are_those_of_the_study(folder):
    members = [(f"s{n:04d}.{end}", data) for n in range(120)
               for end, data in (("webp", PICTURE), ("cls", str(n % 3).encode()))]  # fmt: skip
    for name, templates in (("photos", "a photo of a {c}.\n"), ("art", "art of the {c}.\n\na {c}.\n")):
        write_tar(folder / name / "test" / "0.tar", members)
        write_tar(folder / name / "train" / "0.tar", members)
        (folder / name / "classnames.txt").write_text("cat\ndog\nmug\n", encoding="utf-8")
        (folder / name / "zeroshot_classification_templates.txt").write_text(templates, encoding="utf-8")
    config, told = made(folder, "art", "photos")
    assert config["prompts"] == {"own": "art/zeroshot_classification_templates.txt"}
    assert dict(Study.load(config, folder).prompts) == {"own": ["art of the {class}.", "a {class}."]}
    assert "prompts are the sentences in art/zeroshot_classification_templates.txt" in told
    assert "photos/zeroshot_classification_templates.txt holds other prompts, which are not used" in told
    (folder / "mine.yaml").unlink()
    (folder / "mine-classes.csv").unlink()
    (folder / "art" / "zeroshot_classification_templates.txt").write_text("art\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config key prompts\.own is '.*templates\.txt', which has the line 'art'"):
        make("mine", [folder / "art"], folder)
    assert not list(folder.glob("mine*"))


def write_twins(folder, pictures):
    """Write pictures that a classifier could tell apart, each twice: as it is, and compressed again."""
    rng = np.random.default_rng(0)
    for number in range(pictures):
        noise = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        image = noise.resize((36, 36), Image.Resampling.BILINEAR)
        for name, quality in (("first", 95), ("second", 60)):
            file = io.BytesIO()
            image.save(file, "JPEG", quality=quality)
            path = folder / CLASSES[number % 3] / f"{name} {number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.getvalue())


@pytest.mark.parametrize("sampled", [1_000, 120])
def test_sizes_are_of_pictures_that_repeat_no_test_picture(folder, monkeypatch, sampled):
    """As far as a sample tells; how many do is counted here by the names of the files."""
    monkeypatch.setattr(picture_losses, "SAMPLED_PICTURES", sampled)
    write_twins(folder / "data", 300)
    write_folders(folder / "data", 12)  # do not decode
    config, told = made(folder, "data")
    study = Study.load(config, folder)
    names = {}
    for dataset in study.datasets.names:
        settings = study.datasets.slice_settings(dataset)
        read = read_image_folder_dataset(settings, list(CLASSES), None)
        read.draw(*settings["drawn_between"])
        names[dataset] = {uid.split()[-1] for batch in read.batches() for uid in batch["uid"].to_pylist() if " " in uid}
        if dataset == "data":
            listed = [uid for batch in read.batches() for uid in batch["uid"].to_pylist() if " " in uid]
    tested = names["data_held_out"] | names["placebo"]
    left = sum(uid.split()[-1] not in tested for uid in listed)
    largest = config["runs"][0]["train_images"][-1]
    assert left < 0.85 * len(listed) and (0.8 if sampled == 1_000 else 0.6) * left < largest <= left
    assert "% of the pictures of data repeat a test picture" in told
    monkeypatch.setattr(new_study, "MOST_PICTURES", 100)
    (folder / "mine.yaml").unlink()
    (folder / "mine-classes.csv").unlink()
    unmeasured, told = made(folder, "data")
    assert unmeasured["runs"][0]["train_images"][-1] > left and "none was decoded" in told


def test_shards_of_pairs_keep_labels_and_titles_in_json(folder):
    texts = [json.dumps({"caption": "a picture", "category": CLASSES[n % 3]}).encode() for n in range(100)]
    members = [
        (f"{n:04d}.{end}", data) for n, text in enumerate(texts) for end, data in (("jpg", PICTURE), ("json", text))
    ]
    write_tar(folder / "pairs" / "00000.tar", members)
    config, told = made(folder, "pairs")
    assert "captions are in 'caption' of .json, labels in 'category' of .json" in told
    source = config["sources"]["pairs"]
    assert (source["label"], source["fields"]) == ("category", {"title": "caption"})


def test_parquet_of_the_hub_is_two_splits_with_the_names_of_its_metadata(folder):
    features = {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    (folder / "hub" / "data").mkdir(parents=True)
    for split, images in (("train", 100), ("train_more", 40), ("test", 40)):
        table = pa.table({"image": [{"bytes": PICTURE, "path": "a"}] * images, "label": [n % 3 for n in range(images)]})
        for part in range(2):
            path = folder / "hub" / "data" / f"{split}-0000{part}-of-00002.parquet"
            pq.write_table(table.replace_schema_metadata(metadata), path)
    config, _ = made(folder, "hub")
    assert config["sources"]["train"]["table"] == "hub/data/train-*.parquet"
    assert config["sources"]["train_more"]["table"] == "hub/data/train_more-*.parquet"
    assert config["sources"]["train"]["image"] == "image" and classes_of(folder) == ["class", *CLASSES]
    assert config["test_sets"]["test"]["table"] == "hub/data/test-*.parquet"


def test_names_of_folders_may_hold_blanks_and_quotes(folder):
    for name in ("My Photos", "Anna's", "My", "with  two"):
        (folder / name).mkdir()
    assert [path.name for path in named_paths(["My Photos Anna's"])] == ["My Photos", "Anna's"]
    assert [path.name for path in named_paths(["My", "with  two ", " My Photos"])] == ["My", "with  two", "My Photos"]
    with pytest.raises(LookError, match="Nowhere: there is no such file or folder in /"):
        named_paths(["My Photos Nowhere"])
    with pytest.raises(LookError, match=r"^/tmp/nowhere: there is no such file or folder$"):
        named_paths(["/tmp/nowhere"])


def test_what_cannot_be_used_is_one_line_and_nothing_is_written(folder):
    write_folders(folder / "few", 30)
    (folder / "empty").mkdir()
    write_tar(folder / "pairs" / "0.tar", [("a.jpg", PICTURE), ("a.txt", b"a dog")])
    (folder / "far.csv").write_text("url,caption\nhttp://x/a.jpg,a dog\n", encoding="utf-8")
    (folder / "gone.csv").write_text("file,class\na.jpg,dog\n", encoding="utf-8")
    (folder / "latin.csv").write_bytes(b"file,class\na.jpg,caf\xe9\n")
    for data, message in (("nothing", "no such file"), ("few", "about 24 pictures"), ("empty", "no class folders"),
                          ("pairs", "0 labels"), ("far.csv", "img2dataset"), ("gone.csv", "'a.jpg'"),
                          ("latin.csv", "UTF-8")):  # fmt: skip
        with pytest.raises(LookError, match=message) as error:
            make("mine", [folder / data], folder)
        assert "\n" not in str(error.value)
    write_folders(folder / "enough", 90)
    with pytest.raises(ConfigError, match="config key study is 'Mine'"):
        make("Mine", [folder / "enough"], folder)
    assert not list(folder.glob("*ine*"))
    make("mine", [folder / "enough"], folder)
    with pytest.raises(LookError, match=r"mine\.yaml is there already"):
        make("mine", [folder / "enough"], folder)


def test_any_name_of_a_folder_becomes_a_name_of_a_config():
    names = [config_name(each) for each in ("My Photos!", "2024-07", "no", "\u00e9t\u00e9", "train")]
    assert names == ["my_photos", "data_2024_07", "data_no", "t", "train"]
