"""Tests of whyrobust.data."""
