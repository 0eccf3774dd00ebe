"""Losses: pure functions of logits, guesses and images."""
