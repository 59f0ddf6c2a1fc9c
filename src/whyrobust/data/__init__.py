"""Training and test data: from downloads to records, images, texts and subsets."""
