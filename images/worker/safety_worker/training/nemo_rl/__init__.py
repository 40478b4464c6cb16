"""NeMo-RL as a training backend: prepared and exported in the worker image, trained in NeMo-RL's own image.

``prepare`` checks rows and settings and writes the configuration, ``export`` makes a Hugging Face folder of a
checkpoint; ``python -m safety_worker.training.nemo_rl`` is what runs in NeMo-RL's image. Modules that this
imports (:mod:`.command` and below) need pydantic, PyYAML and the standard library only.
"""
