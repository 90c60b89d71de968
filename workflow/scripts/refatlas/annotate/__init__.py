"""From cells without names to a named atlas: clusters, marker genes, suggested names, and the annotation."""
