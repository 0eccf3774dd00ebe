"""What a run leaves on the disk and tells on the terminal."""
