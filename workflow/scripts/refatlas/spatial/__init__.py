"""Where cells lie in a tissue: regions of a spatial reference, learned from its spots and judged on held-out ones."""
