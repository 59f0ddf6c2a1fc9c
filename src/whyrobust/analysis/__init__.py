"""Statistics on tables: effective robustness, the effects of causes and their intervals. No torch, no images.

Read in this order:

1. `arrays`, `scales` (logit, probit, linear), `intervals` (Clopper-Pearson, percentiles, Fieller), `bootstrap`
   (resampling, and the seed of each draw).
2. `baselines`: the line or plane of the standard models. `accuracies`: tables of accuracies and their axes.
3. `effective_robustness`: distances to the baseline on one shift. `study_tables`: all shifts of a study.
   `average_shift`: accuracies averaged over shifts, as one more. `measured`: a measured shift, read back from these
   tables. `shift_roles`: which shifts take part in verdicts.
4. `effects`: paired differences and their variance. `hypothesis_tests`: families, equivalence, power. `verdicts`: what
   a test shows. `attribution`: the effects of all comparisons. `seed_effects`: those of the main ones seed by seed.
   `team_differences`: their raw differences by the team that made the test images. `gap_shares`: which share of the gap
   an effect closes. `regression`: the second opinion. `cause_tables`: these as the tables of a study.
   `other_weights`: the main comparisons again, with classes weighted the other way.
5. `dose_response`: effects of mixtures by the share of a source. `concept_frequency`: accuracy on a class against the
   number of its training images. `similarity_bands`: accuracy on test images that one source is nearer to.
   `class_differences`: accuracy of two sources by class.
6. Published models: `published_models` measures them as a study; `testbed_line` makes them a study's line.
   `published_study` asks the same five questions of them: `published_checks` (which tables are refused),
   `published_tables` and `pretraining` (what is known of each),
   `published_lines` and `published_axes` (effective robustness), `natural_experiments` (pairs), `published_effects` and
   `published_regression`.
"""
