"""The table of figures: what Snakemake's report says below each; `whyrobust.report.figures` draws them."""

from __future__ import annotations

from typing import Final

#: Captions in the order in which figures are drawn. A caption may name a share of ``EFFECT_TERMS`` in
#: ``workflow/rules/report.smk``, which it shows in percent.
FIGURE_CAPTIONS: Final = {
    "effective_robustness": "The paper's measurement: accuracy under shift against accuracy on one in-distribution "
    "test set, one panel per shift. A point is a trained model with its intervals; the line is fitted to the standard "
    "models of the test set's source. The line is dotted, and points are hollow, beyond the span of the models that it "
    "is fitted to. Points grow with the training set.",
    "residuals": "The main measurement: how far accuracy on each shift lies above or below what is predicted from the "
    "accuracies on all in-distribution test sets, in points at {reference_accuracy} % accuracy. A point is a trained "
    "model; zero is the prediction; hollow points lie outside the span of the standard models.",
    "published_models": "Published models on the ImageNet shifts, with the lines through the standard models of the "
    "ImageNet testbed.",
    "causes": "Effect of each comparison on effective robustness beyond all in-distribution test sets, in percentage "
    "points with a {confidence} % interval over seeds and test images. Shape and colour tell the verdict; hollow marks "
    "have pairs outside the span of the standard models.",
    "dose_response": "What the share of a source in the training set changes: accuracy on each shift, and effective "
    "robustness beyond all in-distribution test sets with its interval.",
    "concept_frequency": "Accuracy of each class against its images in the training set, a point for each class, of "
    "the largest run of the first seed of each objective and source.",
}


def fill_captions(reference_accuracy: float, confidence: float) -> dict[str, str]:
    """Return the caption of each figure.

    Args:
        reference_accuracy: accuracy under shift at which residuals are spelt out in points.
        confidence: of the intervals of effects.
    """
    shares = {"reference_accuracy": reference_accuracy, "confidence": confidence}
    percents = {name: round(100 * share, 1) for name, share in shares.items()}
    return {name: caption.format(**percents) for name, caption in FIGURE_CAPTIONS.items()}
