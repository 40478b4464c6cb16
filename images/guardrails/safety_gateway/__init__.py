"""The guarded endpoint: OpenAI's chat API before a model, behind NeMo Guardrails' rails.

``python -m safety_gateway --config FOLDER`` serves a GuardedDeployment's ConfigMap. It knows nothing of
Kubernetes. Left out: authentication, rate limits, TLS.
"""
