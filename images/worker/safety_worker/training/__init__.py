"""Training that survives interruptions: what all backends share, the backends, and the table of them."""
