"""Tests of whyrobust.terminal."""
