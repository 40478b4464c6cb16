"""What the API server checks when a resource is written: schemas from the models, and their rules in CEL.

``structural`` and ``resource`` make the schemas (the CRDs are generated from them), ``rules`` evaluates them
without an API server: for manifests that are only rendered, and to say why an old resource cannot be planned.
"""
