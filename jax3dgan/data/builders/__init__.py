"""Data sets that the library makes itself."""
