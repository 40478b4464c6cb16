"""Editions of judges whose rules are part of this project. Written by ``hack/refusals.py``."""

REFUSAL_PHRASES = "5c12bffe1c13"
"""Of the judge refusal-phrases: verdicts of another one are not continued, nor compared with."""
