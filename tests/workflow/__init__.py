"""Tests of the workflow: its graph, whole studies, commands, profiles and environments."""
