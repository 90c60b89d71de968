"""What is shown and exported: UMAPs, figures, the report and the atlas files."""
