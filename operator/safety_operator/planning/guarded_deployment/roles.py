"""Roles of the servers of a guarded model."""

MODEL_ROLE = "model"
CLASSIFIER_ROLE = "classifier"
RAILS_ROLE = "guardrails"
