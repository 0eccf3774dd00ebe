"""Photos of faces: found, aligned, with cameras; see docs/own_faces.md."""
