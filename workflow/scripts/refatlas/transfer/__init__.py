"""Transfer of labels: sources of labels, calibration, pooling, novelty, and trees of labels."""
