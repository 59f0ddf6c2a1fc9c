"""Test images embedded and scored with prompt sets, against the clip_benchmark package.

The same open_clip model with the same weights, the same pictures, classes and prompts on both sides. The peer does what
its command does: it reads pictures from a folder with a DataLoader, and goes through all of them again for each prompt
set. Ours reads the Arrow store of a study, embeds once, and scores every prompt set from the embeddings.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.pictures import draw_icons
from benchmarks.rows import Aim, Measured, Row, Setting

if TYPE_CHECKING:
    from whyrobust.evaluation.load_run import Encoders

RESOURCES = Path(__file__).parent.parent / "resources"
MODEL, SIDE = RESOURCES / "models" / "icon-cnn.json", 32
TEMPLATES = (
    "{class}",
    "{class} icon",
    "an icon of a {class}",
    "a drawing of a {class}",
    "{class} outline",
    "{class} filled",
)


def prompt_sets(count: int) -> dict[str, list[str]]:
    """Return prompt sets of six sentences each."""
    return {f"set {number}": [f"{text} {'.' * number}" for text in TEMPLATES] for number in range(count)}


def class_names() -> list[str]:
    """Return the names of the classes of the default study."""
    from whyrobust.study.class_table import read_prompt_names

    return list(read_prompt_names(RESOURCES / "icons" / "classes.csv"))


def prepare(setting: Setting, images: int = 20_000) -> None:
    """Draw the pictures, and make a model with random weights, for both sides in their own form."""
    import torch

    from whyrobust.data.pixel_store import write_pixels
    from whyrobust.data.preprocessing import study_preprocessing
    from whyrobust.training.models import build_two_towers, read_model_config
    from whyrobust.training.weights import open_clip_names, save_weights

    classes, count = class_names(), setting.size(images, 300)
    pixels = draw_icons(min(count, 2000), SIDE, seed=0)[np.arange(count) % min(count, 2000)]
    write_pixels(setting.folder / "images.arrow", [f"{number:06d}" for number in range(count)], pixels)
    for number, picture in enumerate(pixels):
        folder = setting.folder / "pictures" / f"{number % len(classes):04d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    torch.manual_seed(0)
    config = read_model_config(MODEL)
    weights = open_clip_names(build_two_towers(config).state_dict(), config)
    torch.save(weights, setting.folder / "peer.pt")
    facts = {"preprocessing": study_preprocessing(SIDE, "white_page").as_dict(), "images_used": count}
    save_weights(setting.folder / "ours.safetensors", weights, facts)


def score_by_ours(encoders: Encoders, setting: Setting, sets: int, count: int, threads: int) -> list[Any]:
    """Embed the first ``count`` pictures and return the answers with each prompt set, as the stages of a study do."""
    from whyrobust.data.image_stores import read_images
    from whyrobust.evaluation.embed import embed_images
    from whyrobust.evaluation.scoring import predict
    from whyrobust.evaluation.zero_shot import prompt_ensemble, score_zero_shot

    assert encoders.text is not None
    classes = class_names()
    uids = [f"{number:06d}" for number in range(count)]
    images = read_images([str(setting.folder / "images.arrow")], uids, encoders.preprocessing, threads)
    features = embed_images(encoders.image, images, encoders.preprocessing, 512, setting.device)
    directions = [prompt_ensemble(encoders.text, classes, templates) for templates in prompt_sets(sets).values()]
    return [predict(score_zero_shot(features, of_set)) for of_set in directions]


def ours(setting: Setting, sets: int) -> Measured:
    """Embed and score as the stages do; importing and opening the model is left out on both sides."""
    from whyrobust.evaluation.load_run import open_run
    from whyrobust.training.device import choose_device

    device = choose_device(setting.device)
    encoders = open_run(setting.folder / "ours.safetensors", MODEL, True, setting.cores, device)
    assert encoders.text is not None
    encoders.text(["warm up"])
    began = time.perf_counter()
    answers = score_by_ours(encoders, setting, sets, setting.size(20_000, 300), setting.cores)
    took = time.perf_counter() - began
    np.save(setting.folder / "answers.npy", answers[0])
    return Measured(took)


def open_peer(setting: Setting) -> tuple[Any, Any, Any]:
    """Return the model of the peer, its tokenizer and its pictures."""
    import open_clip
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, Normalize, ToTensor

    from whyrobust.data.preprocessing import WHITE_PAGE_MEAN, WHITE_PAGE_STD
    from whyrobust.training.models import register_image_encoders

    torch.set_num_threads(setting.cores)
    register_image_encoders()
    open_clip.add_model_config(MODEL)
    model = open_clip.create_model(MODEL.stem, pretrained=None, device=setting.device)
    tokenizer = open_clip.get_tokenizer(MODEL.stem)
    tokenizer(["warm up"])
    pictures = ImageFolder(
        str(setting.folder / "pictures"), Compose([ToTensor(), Normalize(WHITE_PAGE_MEAN, WHITE_PAGE_STD)])
    )
    return model, tokenizer, pictures


def load_peer(model: Any, path: Path) -> None:  # noqa: ANN401 - open_clip is untyped
    """Load weights into the model of the peer."""
    import torch

    model.load_state_dict(torch.load(path, weights_only=True))
    model.eval()


def score_by_peer(model: Any, tokenizer: Any, pictures: Any, setting: Setting, sets: int) -> list[Any]:  # noqa: ANN401
    """Go through all pictures once for each prompt set, as clip_benchmark's command does; return the answers."""
    import torch
    from clip_benchmark.metrics.zeroshot_classification import run_classification, zero_shot_classifier

    classes, answers = class_names(), []
    for templates in prompt_sets(sets).values():
        loader = torch.utils.data.DataLoader(pictures, batch_size=512, num_workers=setting.cores)
        spoken = [text.replace("{class}", "{c}") for text in templates]
        directions = zero_shot_classifier(model, tokenizer, classes, spoken, setting.device, amp=False)
        scores, _ = run_classification(model, directions, loader, setting.device, amp=False)
        answers.append(scores.argmax(dim=1).cpu().numpy())
    return answers


def check_answers(setting: Setting, pictures: Any, answers: Any) -> None:  # noqa: ANN401
    """Compare the peer's answers with those that ours kept."""
    numbers = [int(Path(path).stem) for path, _ in pictures.samples]
    same = float((np.load(setting.folder / "answers.npy")[numbers] == answers).mean())
    if same < 0.999:
        raise ValueError(f"{same:.1%} of the answers are ours: the two sides do not compute the same")


def peer(setting: Setting, sets: int) -> Measured:
    """Evaluate with clip_benchmark, once for each prompt set; its answers must be ours."""
    model, tokenizer, pictures = open_peer(setting)
    load_peer(model, setting.folder / "peer.pt")
    began = time.perf_counter()
    answers = score_by_peer(model, tokenizer, pictures, setting, sets)
    took = time.perf_counter() - began
    check_answers(setting, pictures, answers[0])
    return Measured(took)


def _row(sets: int, least: float) -> Row:
    return Row(
        name=f"score_{sets}_prompt_sets",
        what=f"20,000 icons embedded and scored with {sets} prompt set{'s' if sets > 1 else ''} of 6 sentences",
        unit="s",
        ours=partial(ours, sets=sets),
        peer="clip_benchmark",
        measure_peer=partial(peer, sets=sets),
        aims={"cpu": (Aim(least=least),), "cuda": (Aim(least=least),)},
        better="lower",
        limit="the forward passes of the image tower, and of the text tower for each prompt",
        prepare=prepare,
        rounds=3 if sets == 1 else 2,
    )


ROWS = (_row(1, 3), _row(5, 12))
