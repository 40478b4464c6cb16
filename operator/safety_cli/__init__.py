"""``kubectl safety``: what the four kinds are doing and what they found, for people at a terminal.

A kubectl plugin. It starts kubectl for everything it asks a cluster, so that credentials, proxies and
contexts are kubectl's own, and needs no more rights than its user has for reading the four kinds.
"""
