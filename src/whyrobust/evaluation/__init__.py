"""Evaluation of runs: embeddings, heads and scores."""
