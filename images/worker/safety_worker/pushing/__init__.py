"""Sends a finished model to a hub, a bucket or a registry."""
