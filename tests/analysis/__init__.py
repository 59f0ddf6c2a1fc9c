"""Tests of whyrobust.analysis."""
