"""Training and test data: from downloads to records, images, texts and subsets.

In the order of the data flow: `downloads` and `img2dataset` fetch files; `iconify` and `readers` read data sets into
the tables of `records` (through `record_writer`, located by `archives`); `pixel_store` and `photo_store` hold
images, and `merge_slices` merges what was built in slices; `text_cleaning`, `captions` and `label_matcher` make texts
and labels; `near_duplicates` removes test images from training sources; `subsets` draws what a run is trained on.
"""
