"""Sampling settings from the API's decimal strings to the record's numbers."""

from safety_operator.api.common import SamplingSpec
from safety_records.sampling import Sampling


def sampling_record(spec: SamplingSpec) -> Sampling:
    """How answers are drawn. A temperature over 2 and a nucleus of 0 are set to the nearest that works."""
    return Sampling(
        temperature=min(2.0, float(spec.temperature)),
        top_p=max(1e-6, float(spec.top_p)),
        max_tokens=spec.max_tokens,
        seed=spec.seed,
        reasoning_end=spec.reasoning_end,
    )
