"""Evaluation: from the weights of a run to predictions on every test set.

Read in this order:

1. `load_run`: opens a run, trained here or published, as encoders of images and texts.
2. `embed`: embeddings of images; all after it is plain numpy. `embed_run`: all that a study embeds with one run.
3. `zero_shot`: prompt ensembles, class names x templates to one direction per class; `heads`: nearest class means and
   linear probes, fitted on embeddings of training images.
4. `scoring`: the classes that may be predicted on a test set, and the predictions of every head; `restricted_axes`:
   in-distribution accuracy on the classes of a shift.

Accuracies and their intervals are made of the predictions in `whyrobust.analysis.accuracies`.
"""
