"""What runs in pods of images that are not ours: mounted as files, with Python's standard library only.

The operator reads the sources and puts them into a ConfigMap (``safety_operator.children.server_files``); the
worker image has them too.
"""
