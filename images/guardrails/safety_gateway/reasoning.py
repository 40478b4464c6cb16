"""Reasoning between ``<think>`` and ``</think>``, which users are not shown."""

REASONING, REASONING_END = "<think>", "</think>"


def without_reasoning(text: str, *, opened: bool = False) -> str:
    """The text without what stands between the marks of reasoning; linear in its length.

    A chat template that opens reasoning behind the prompt (DeepSeek-R1-Distill, Qwen3-Thinking) leaves an
    answer with the end alone: all before it is reasoning. An answer that begins with reasoning
    (``opened``: by its template) and was cut within it, as a client's limit of tokens does, is empty.
    """
    if REASONING_END not in text:
        return "" if opened or text.lstrip().startswith(REASONING) else text
    first, closed = text.find(REASONING), text.find(REASONING_END)
    kept, start = [], closed + len(REASONING_END) if not 0 <= first < closed else 0
    while (begin := text.find(REASONING, start)) >= 0 and (end := text.find(REASONING_END, begin)) >= 0:
        kept.append(text[start:begin])
        start = end + len(REASONING_END)
    return "".join([*kept, text[start:]]).strip()


class ReasoningFilter:
    """Takes reasoning out of a text that comes in parts.

    Parameters
    ----------
    opened
        Whether the answer begins within reasoning, as its chat template opens it.
    """

    def __init__(self, *, opened: bool) -> None:
        self.thinking = opened
        """Whether what comes next is reasoning."""
        self._rest = ""
        self._shown = False

    def feed(self, text: str) -> tuple[bool, str]:
        """Whether all that came before was reasoning after all, and what is new to show."""
        self._rest += text
        found: list[str] = []
        all_before = False
        while (at := self._next_mark()) is not None:
            where, mark = at
            if mark == REASONING:
                found.append(self._rest[:where])
            elif not self.thinking:
                all_before = True
                found.clear()
            self._rest = self._rest[where + len(mark) :]
            self.thinking = mark == REASONING
        cut = len(self._rest) - max(_overlap(self._rest, mark) for mark in self._marks)
        if not self.thinking:
            found.append(self._rest[:cut])
        self._rest = self._rest[cut:]
        self._shown = self._shown and not all_before
        return all_before, self._visible("".join(found))

    def end(self) -> str:
        """What is left at the end: the beginning of a mark that was none."""
        rest, self._rest = self._rest, ""
        return "" if self.thinking else self._visible(rest)

    @property
    def _marks(self) -> tuple[str, ...]:
        """What ends the present state; an end without a beginning ends what the chat template began."""
        return (REASONING_END,) if self.thinking else (REASONING, REASONING_END)

    def _next_mark(self) -> tuple[int, str] | None:
        found = ((self._rest.find(mark), mark) for mark in self._marks)
        return min((item for item in found if item[0] >= 0), default=None)

    def _visible(self, text: str) -> str:
        """Without the line ends between reasoning and answer."""
        if self._shown:
            return text
        text = text.lstrip()
        self._shown = bool(text)
        return text


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of the text that is a beginning of the mark."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if mark.startswith(text[-n:])), 0)
