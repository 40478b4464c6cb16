"""What crosses the boundary between the operator and its pods.

The operator writes a *stage specification* that a pod mounts; the pod prints
*progress* lines and leaves a *stage result* in its termination message and a *manifest*
next to its artifacts. Both sides import these schemas and nothing else of each other.
"""
