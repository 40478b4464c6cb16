"""Decisions about SafetyFinetunes."""
