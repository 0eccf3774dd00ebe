"""Devices, processes, and how programs are compiled for them."""
