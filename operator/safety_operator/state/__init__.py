"""Observed and desired state: the words in which planners are told and answer. No client, clock or log."""
