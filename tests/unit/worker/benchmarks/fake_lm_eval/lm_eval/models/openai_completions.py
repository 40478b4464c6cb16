"""As lm-eval strips reasoning."""


def postprocess_generated_text(generation: str, stop: list[str] | None, think_end_token: str | None) -> str:
    """The text behind the last end of reasoning, up to the first stop."""
    if think_end_token:
        generation = generation.rsplit(think_end_token, maxsplit=1)[-1].lstrip()
    for end in stop or ():
        generation = generation.split(end)[0]
    return generation
