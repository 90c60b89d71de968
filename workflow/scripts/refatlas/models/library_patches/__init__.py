"""All changes to other packages: environment, warnings, and functions that are replaced.

environment: what is set before scvi-tools and scArches are used.
scvi_tools: what is left out of or replaced in models of scvi-tools.
likelihood: the negative binomials of scvi-tools, computed on non-zero counts.
"""
