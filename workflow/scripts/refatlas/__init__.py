"""What two or more rules of refatlas share.

Importing it costs nothing: heavy packages are imported where they are used.
"""

__version__ = "0.2.0"
