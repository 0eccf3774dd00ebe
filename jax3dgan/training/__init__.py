"""The training step and all that decides how it goes on."""
