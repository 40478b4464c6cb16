"""The stages: one module each, named as specifications name them, with the entry point ``run``."""
