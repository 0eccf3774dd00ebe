"""Pretrained networks that compare images: Inception-v3 (FID and its kin) and LPIPS."""
