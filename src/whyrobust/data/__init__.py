"""Training and test data: from downloads to records, images, texts and subsets.

Read in this order, that of the data flow:

1. `downloads`: pinned files; `fetching`, `img2dataset`: images of a list of addresses.
   `flickr_addresses`, `flickr_api`, `flickr_texts`, `built_captions`: ImageNet-Captions from ImageNet's list of
   addresses and the texts that its photographs have on Flickr.
2. `records`: the table of records, which every data set is read into, and the join by uid.
3. Icons: `iconify` (the archive), `icon_parts` (which icons become records), `split_by_drawing` (held-out icons);
   `svg`, `icon_poses`, `icon_drawing`, `pixel_store`: from a drawing to pixels on the disk.
4. Photographs: `archives` (where files are; `tar_headers` reads damaged tars strictly), `readers` (one layout per
   module), `record_writer`, `dataset_checks`; `decoding`, `preprocessing`, `photo_store`, `photo_checks`: from a
   file to pixels; `merge_slices`: data sets built in slices; `decoded_store`: pixels that all runs on a source share.
   `worker_pool` decodes and draws untrusted files; `child_processes`: programs that end with their job;
   `image_stores` reads icons and photographs alike.
5. Texts: `text_cleaning`, `text_columns`, `captions`, `caption_variety` (how varied they are); `label_matcher`,
   `phrase_search`, `text_labels`: labels found in texts; `choose_classes`: the classes of the icons.
6. `fingerprints`, `near_duplicates`, `decontamination`: training images that repeat a test image are removed;
   `nearest_images`: the training image that is left nearest to each test image.
7. `subsets`: what a run is trained on; `views`: filters of a source before; `grey_images`: subsets turned grey.
"""
