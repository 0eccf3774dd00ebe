"""The files of a run on the disk, and its output on the terminal."""
