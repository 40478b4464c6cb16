"""Decisions about GuardedDeployments."""
