"""Faces of known camera, identity, expression and geometry, rendered from the user's own copy of
the ICT Face Model Light (Li et al., CVPR 2020); see docs/faces.md."""
