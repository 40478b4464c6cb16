"""Decisions about SafetyEvals."""
