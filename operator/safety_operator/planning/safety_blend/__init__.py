"""Decisions about SafetyBlends."""
