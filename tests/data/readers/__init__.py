"""Tests of the readers of data sets, one module per layout."""
