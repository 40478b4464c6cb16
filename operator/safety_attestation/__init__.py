"""Checks a report's signed statement. Used by the worker, which also signs, and by ``kubectl safety``."""
