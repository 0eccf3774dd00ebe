"""The interactive viewer in the browser, on viser: `jax3dgan view`.

One session for each browser (`session`), one thread that renders for all of them (`worker`), at
sizes that the machine is fast enough for (`quality`).
"""
