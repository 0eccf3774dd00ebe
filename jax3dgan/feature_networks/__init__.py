"""Pretrained networks that compare images: Inception-v3 (for FID and similar metrics) and LPIPS."""
