"""Editions of judges whose rules are part of this project. Written by ``hack/refusals.py``."""

REFUSAL_PHRASES = "1bc75f8f0132"
"""Of the judge refusal-phrases: verdicts of another one are not continued, nor compared with."""
