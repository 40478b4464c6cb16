"""Why NeMo-RL would not train by these settings, or not as they say."""


class ConfigurationError(Exception):
    """The settings are wrong: a person must act.

    Parameters
    ----------
    reason
        CamelCase, becomes the condition's reason.
    message
        Names the field or the key, and the remedy.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
