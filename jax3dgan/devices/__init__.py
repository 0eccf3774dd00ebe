"""Devices and processes, and the compilation of programs for them."""
