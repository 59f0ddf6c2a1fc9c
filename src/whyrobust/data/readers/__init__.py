"""Readers of image data sets, one layout per module: each finds the images of a data set and their texts and labels.

Start with `dispatch`, which calls the reader of a data set's kind; then `folders` (class folders), `imagenet` (ImageNet
and its shifts), `counter_animal` and `domainnet`, `webdataset` (tar shards of image-text pairs), `address_list` and
`yfcc` (YFCC-15M), whose shards are fetched, and `tables` (`table_files`: rows of CSV, JSON lines and Parquet).
`label_names` names numbered classes, `caption_files` reads texts that are files.
Each kind has one function ``read_<kind>_dataset(settings, classes, pack) -> RecordBuffer``, which unpacks the settings
and calls a function of plain values. To add a layout, write a module with such a function and name it in the kind's
row.

Labels are classes of the study's class table; a label that allows several classes (ObjectNet) joins them with
`whyrobust.data.records.LABEL_SEPARATOR`.
"""
