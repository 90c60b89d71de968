"""Differential expression between conditions: designs, pseudobulk samples, tests, and gene set enrichment."""
