"""Atlas bundles: a reference with all that queries are mapped with, and without the files it was made from."""
