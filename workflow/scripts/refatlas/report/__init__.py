"""The report: figures, the page, and atlas files."""
