"""Tests of whyrobust.training."""
