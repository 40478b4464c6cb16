"""What a client reads where a rail blocks: by rail, and by the languages that its request asks for.

The language is that of the header Accept-Language, which browsers send and programs may. The texts of a
conversation are not guessed at: a detector of languages is wrong about short ones, and code has none.
"""

from collections.abc import Sequence

from safety_gateway.settings import ANY, RefusalText

MAX_LANGUAGES = 16
"""Languages of a header that are looked at."""
RAILS = (
    ("content safety check", "contentSafety"),
    ("topic safety check", "topicControl"),
    ("self check", "selfCheck"),
    ("jailbreak detection", "jailbreak"),
    ("sensitive data", "sensitiveData"),
    ("tool call validation", "toolCalls"),
)
"""How rails' own names begin, and what the spec calls them."""
OTHERS = "config"
"""What the spec calls the rails of a user's own configuration."""


def read_languages(header: str | None) -> tuple[str, ...]:
    """The languages of an Accept-Language header in lower case, the most wanted first: de-at, then de."""
    weighed = []
    for item in (header or "").split(",")[:MAX_LANGUAGES]:
        language, _, parameters = item.strip().lower().partition(";")
        if language.strip() and language.strip() != "*":
            weighed.append((_weight(parameters), language.strip()))
    weighed.sort(key=lambda pair: -pair[0])
    wanted = [language for weight, language in weighed if weight > 0]
    return tuple(dict.fromkeys(name for item in wanted for name in (item, item.partition("-")[0])))


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 0.0


class Refusals:
    """The refusals of a configuration.

    Parameters
    ----------
    default
        What is read where no other text is for a rail or a language.
    texts
        Texts for a rail, a language or both.
    """

    def __init__(self, default: str, texts: Sequence[RefusalText] = ()) -> None:
        self._default = default
        self._texts = {(item.rail, item.language.lower()): item.text for item in texts}
        self.all = frozenset(text.strip() for text in (default, *self._texts.values()))
        """Every text, by which a refused turn is known again."""

    def choose(self, rail: str, languages: Sequence[str]) -> str:
        """The text for a rail, by its own name, in the first of the languages that there is one in.

        A text of the rail comes before one for all rails, and a language before none.
        """
        kind = next((kind for begin, kind in RAILS if rail.startswith(begin)), OTHERS)
        wanted = [(place, language) for language in languages for place in (kind, ANY)]
        found = (self._texts[key] for key in [*wanted, (kind, ANY)] if key in self._texts)
        return next(found, self._default)
