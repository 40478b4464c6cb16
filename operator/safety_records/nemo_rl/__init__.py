"""NeMo-RL's configuration: the keys of each release, how they follow from a stage, what is refused of them.

The operator refuses by it what settings alone show to be wrong, before anything runs; the worker's prepare
stage writes the file. Knows neither rows nor a model's folder.
"""
