#!/bin/sh
# Run by Snakemake in the new environment. Made by `make lock`: not to be edited.
exec python -m pip install --no-deps --no-build-isolation --editable "$WHYROBUST_REPOSITORY"
