"""Toy cars in front of a white ground: images with true cameras, depth, masks and second views."""
