"""Measures of a trained generator: of its images against photos, and of its geometry."""
