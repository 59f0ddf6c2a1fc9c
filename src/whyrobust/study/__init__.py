"""What a study is: its config, and what follows from it before any work is done.

Everything here is light, since every start of the workflow and every job imports it: no torch, no pandas. Read in this
order:

1. `config_file`: a config file as text. `config`: its keys as types, and `load_config`. The keys of a data set and of
   an objective come from `data_kinds` (its classes: `kind_settings`) and `objectives_table`; `dataset_settings` makes
   the sources and test sets of a config from the former. `training_settings`: parts of the section `training`.
2. `setting_types`, `setting_checks`: what a type of a setting allows, and how a wrong value becomes one line.
3. `caption_variants`, `heads_table`, `stages`, `figure_captions`: the other tables that names, labels, checks and docs
   come from. `caption_tables`: where the captions of a variant are, and what they depend on. `caption_build`: how
   ImageNet-Captions is built.
4. `plan`: the runs of a study's grids, and their heads; `comparisons` pairs them; `run_groups`: which of them one job
   embeds. `doses`: series of mixtures; `derived_sources`: what views and mixtures are made of.
5. `pinned_sources`, `file_patterns`, `input_files`, `roles`, `held_out`, `view_checks`, `paper_measurement`, `checks`:
   files that can be downloaded, the files that a config names, what test sets are for, what views filter by, which
   habits of the paper are taken over, and whether the whole can be carried out. `described_models`: whether torch can
   build the models of runs, and whether they take the study's images.
   `unlikely_settings`: what can be, and is rarely meant. `workflow_files`: where the workflow's own files are, and the
   commands that make a study, in another folder than the workflow's.
6. `study`: what the rules ask about a study; `datasets`: the same for its data sets. `slices` divides the work on
   large ones. `decoded_photographs`: which stores of pixels a run reads. `wildcards`: the names that rules
   may be asked for. `unfinished`: the finished part of a study
   that still runs, and `unfinished_settings`: what it says that it lacks.
7. `class_table`, `display_names`, `restricted_names`, `published_shifts`, `table_cells`: names of classes, of what
   figures show, of axes and of the shifts of published models; what an empty cell of a table is. `picture_formats`: the
   formats of pictures that are read.
8. `code_version`, `input_versions`: checksums of code, versions of packages and of files that users give, so that a
   change reruns what depends on it; `kept_answers` spares a start what the last one found in the code.
   `rerun_reasons`: what a plan does again and why, in words; `layout`: results of an older version.
9. `stopped_jobs`: why jobs stopped, from their logs.
10. `content_digests`, `finished_work`: what a job made is found again, in any study, by what it was made from.
"""
