"""Fake of lm-eval's clients."""
