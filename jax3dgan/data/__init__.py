"""Data sets: preparation, deterministic order, and two loaders with one contract."""
