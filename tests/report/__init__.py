"""Tests of whyrobust.report."""
