"""Input and output: users' files of raw counts, and files of results."""
