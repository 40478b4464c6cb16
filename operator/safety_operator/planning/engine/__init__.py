"""What is the same for all kinds: stages, their Jobs and servers, conditions and references."""
