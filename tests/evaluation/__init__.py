"""Tests of whyrobust.evaluation."""
