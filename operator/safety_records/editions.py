"""Editions of judges whose rules are part of this project. Written by ``hack/refusals.py``."""

REFUSAL_PHRASES = "c1c63aff419a"
"""Of the judge refusal-phrases: verdicts of another one are not continued, nor compared with."""
