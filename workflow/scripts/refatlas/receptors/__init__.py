"""T-cell receptors of cells: reading them, and clonotypes."""
