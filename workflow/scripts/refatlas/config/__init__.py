"""The configuration and the sheets, checked before anything runs."""
