"""Tests of whyrobust.study."""
