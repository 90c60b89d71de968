"""Evaluation: integration scores, scores of labels, and the verdict on a mapping."""
