"""Doing something again at the times of cron: the spec's strings, and what a status remembers of runs."""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import ApiModel
from safety_operator.api.conditions import Hash, Stages
from safety_records.result import Drift, ScoreValue, Truth
from safety_records.schema import shaped

_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"


def cron_pattern() -> str:
    """Five fields as Debian's cron has them: lists of ``*``, values and ranges, with optional steps."""
    values = (
        "[1-5]?[0-9]",
        "1?[0-9]|2[0-3]",
        "[1-9]|[12][0-9]|3[01]",
        f"[1-9]|1[0-2]|{_MONTHS}",
        f"[0-7]|{_DAYS}",
    )
    fields = []
    for value in values:
        item = rf"(\*|({value})(-({value}))?)(/[1-9][0-9]?)?"
        fields.append(f"{item}(,{item})*")
    return f"^{' '.join(fields)}$"


Cron = Annotated[
    str,
    shaped(
        cron_pattern(),
        'write five fields of cron: minute, hour, day of month, month, day of week, such as "0 3 * * 1"',
        max_length=100,
    ),
]
"""Times, as Debian's cron reads them."""

TimeZone = Annotated[
    str,
    shaped(
        r"^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
        "name a time zone of the IANA database, such as Europe/Zurich or Etc/UTC",
        max_length=64,
    ),
]
"""Name of a time zone."""

Time = Annotated[str, Field(max_length=32)]


class ScoresRef(ApiModel):
    """The scores that a run is compared with."""

    run: Annotated[str, Field(max_length=63)] = Field(description="Which run they are of.")
    uri: Annotated[str, Field(max_length=1024)] = Field(description="Their folder in the artifact store.")
    digest: Annotated[str, Field(max_length=71)] = Field(
        description="sha256: and 64 hexadecimal digits over the names and contents of its files."
    )


class RunIdentity(ApiModel):
    """A run of the schedule."""

    time: Time = Field(description="The time of the schedule that it was started for.")
    previous: ScoresRef | None = Field(
        default=None, description="The scores of the run before it, for the drift between the two."
    )


class RerunStatus(RunIdentity):
    """A run that is going on while the results of the run before are shown."""

    started_at: Time = Field(default="", description="When the new run was started, RFC 3339.")
    stages: Stages = Field(
        default=[], description="Stages of the new run; those of the shown results are in status.stages."
    )


class ScheduleStatus(ApiModel):
    """A schedule as the operator follows it."""

    cron: Annotated[str, Field(max_length=100)] = Field(description="The schedule that was last seen.")
    time_zone: Annotated[str, Field(max_length=64)] = Field(
        description="Time zone in which the schedule is followed."
    )
    since: Time = Field(description="When it was first seen: no time before that counts as missed.")
    next: Time = Field(default="", description="The next time it is due.")


class RunStatus(ApiModel):
    """A run of the past."""

    id: Hash = Field(description="Hash of everything that influenced its report.")
    time: Time = Field(
        default="", description="The time of the schedule that it was started for; empty for another cause."
    )
    finished_at: Time = Field(default="", description="When the run ended, RFC 3339.")
    generation: Annotated[int, Field(ge=0)] = Field(default=0, description="Generation of the spec it used.")
    state: Literal["Succeeded", "Failed"] = Field(
        description="Whether the run gave results: Succeeded or Failed."
    )
    passed: Truth = Field(description="Its verdict, as in SafetyPassed.")
    message: Annotated[str, Field(max_length=512)] = Field(
        default="", description="The verdict of the run, or why it failed, in words."
    )
    digest: Annotated[str, Field(max_length=71)] = Field(
        default="", description="Digest of the model that it evaluated."
    )
    html: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="pvc://claim/path of its report's page."
    )
    scores: Annotated[tuple[ScoreValue, ...], Field(max_length=48)] = Field(
        default=(), description="Its scores, without those of single probes that no threshold names."
    )
    drift: Annotated[tuple[Drift, ...], Field(max_length=48)] = Field(
        default=(), description="How its scores changed against the run before."
    )
