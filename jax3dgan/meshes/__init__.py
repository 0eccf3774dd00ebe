"""Meshes: from a generator's density to a surface, its texture and a file."""
