"""Near duplicates: prompts whose letters are nearly the same, found by MinHash and confirmed exactly.

A prompt is the set of its shingles: runs of five letters or digits, in lower case, without what is between
them (``text.group_form``). A sign of Chinese says as much as a word of several letters, so shingles are
shorter there, and a changed word counts as much in every script. Two prompts are near duplicates if the
Jaccard similarity of their sets, shared shingles over all shingles, reaches a threshold. MinHash (Broder,
1997; rensa's R-MinHash) with locality-sensitive hashing proposes pairs; each is confirmed on the sets
themselves, so nothing is called a duplicate that is none. A pair right at the threshold is missed with a
probability of at most :data:`MISS`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import rensa

SHINGLE = 5
"""Letters of a shingle. A shorter text is one shingle."""
SLOTS = 64
"""Numbers of a signature."""
SEED = 42
"""Of signatures. They never leave a run."""
MISS = 0.01
"""Highest probability of missing a pair that is exactly as similar as the threshold."""
DEFAULT_THRESHOLD = 0.8
"""Similarity of near duplicates where nothing else is said."""
NEIGHBOURS = 32
"""Rows of the same bucket, next in order, that each row is compared with, besides the bucket's first."""
MARGIN = 0.2
"""A pair whose signatures say that it lies so far below the threshold is not confirmed: four standard errors
of the estimate."""

_WORD_SIGNS, _SYLLABLES = 4, 2
"""So often a Chinese sign, and a sign of a syllable, stands in what shingles are cut from: a shingle has two
of the first, and two or three of the second."""

_SIGNS = re.compile(
    "[\u2e80-\u2fff\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b170-\U0001b2ff"
    "\U00016fe0-\U00018cff\U00020000-\U0003ffff]"
    "|([\u1200-\u139f\u13a0-\u13ff\u1400-\u167f\u2d80-\u2ddf\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\ua000-\ua4cf"
    "\ua500-\ua63f\uab00-\uab2f\uab70-\uabbf\U0001b000-\U0001b16f])"
    "|([\uac00-\ud7a3])"
)
"""Signs of Chinese, Tangut and Nushu; of syllabaries (Ethiopic, Cherokee, Cree, kana, Yi, Vai); of Korean."""

_SEPARATOR = "\0" * (SHINGLE - 1)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)

Numbers = np.ndarray[Any, np.dtype[np.uint64]]
Small = np.ndarray[Any, np.dtype[np.uint8]]
Indices = np.ndarray[Any, np.dtype[np.int64]]


class Bands(NamedTuple):
    """How a signature is cut into bands: two rows that agree on one band are compared."""

    count: int  # type: ignore[assignment]
    width: int


def bands_for(threshold: float) -> Bands:
    """The widest bands, which propose the fewest pairs, that miss at most :data:`MISS` at the threshold.

    Parameters
    ----------
    threshold
        Jaccard similarity, 0.5..1.
    """
    widths = range(1, SLOTS + 1)
    good = [width for width in widths if (1 - threshold**width) ** (SLOTS // width) <= MISS]
    width = max(good, default=1)
    return Bands(SLOTS // width, width)


def expand_signs(form: str) -> str:
    """A group form with as many characters for a word as alphabets have: signs stand several times.

    Korean syllables become their letters.
    """
    return form if form.isascii() else _SIGNS.sub(_expand_sign, form)


def _expand_sign(found: re.Match[str]) -> str:
    if found[2]:
        return unicodedata.normalize("NFD", found[2])
    return found[0] * (_SYLLABLES if found[1] else _WORD_SIGNS)


def shingles(form: str) -> set[str]:
    """The set that a prompt's group form is compared as."""
    form = expand_signs(form)
    return {form[start : start + SHINGLE] for start in range(max(len(form) - SHINGLE + 1, 1))}


def similarity(one: set[str], other: set[str]) -> float:
    """Jaccard similarity of two sets that are not empty, 0..1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


class Hashed(NamedTuple):
    """The shingles of several texts behind each other, as numbers."""

    numbers: Numbers
    offsets: Numbers
    """(texts + 1,) where each begins; the last is their number."""


def hash_shingles(forms: Sequence[str]) -> Hashed:
    """Shingles of texts as 64-bit numbers; those of different shingles differ but for chance."""
    forms = list(map(expand_signs, forms))
    text = _SEPARATOR.join((*forms, ""))
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, forms), np.int64, len(forms))
    counts = np.maximum(lengths - SHINGLE + 1, 1)
    offsets = np.zeros(len(forms) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    starts = np.zeros(len(forms), np.int64)
    np.cumsum(lengths[:-1] + len(_SEPARATOR), out=starts[1:])
    wanted = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
    codes = np.concatenate([codes, np.zeros(SHINGLE, np.uint64)])
    size = len(codes) - SHINGLE + 1
    numbers = codes[:size].copy()
    for step in range(1, SHINGLE):
        numbers *= _FACTOR
        numbers += codes[step : step + size]
    numbers = numbers[wanted]
    numbers ^= numbers >> np.uint64(31)
    numbers *= _MIX
    numbers ^= numbers >> np.uint64(29)
    return Hashed(numbers, offsets.astype(np.uint64))


class Signatures:
    """Signatures of texts in the order in which they were added; about 300 bytes each."""

    def __init__(self, threshold: float = DEFAULT_THRESHOLD) -> None:
        self.threshold = threshold
        self._bands = bands_for(threshold)
        self._keys: list[Numbers] = []
        self._low: list[Small] = []

    def add(self, forms: Sequence[str]) -> None:
        """Add the group forms of some thousand texts."""
        if not forms:
            return
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(*hash_shingles(forms), SLOTS, SEED)
        signatures = np.array(matrix.to_rows(), np.uint32)
        count, width = self._bands
        cut = signatures[:, : count * width].reshape(len(forms), count, width).astype(np.uint64)
        keys = np.zeros((len(forms), count), np.uint64)
        for place in range(width):
            keys = keys * _FACTOR + cut[:, :, place]
        self._keys.append(keys ^ (keys >> np.uint64(31)))
        self._low.append((signatures & np.uint32(0xFF)).astype(np.uint8))

    def pairs(self, order: Indices) -> Iterator[tuple[int, int]]:
        """Pairs that may be near duplicates, by their later member and then by the earlier one.

        Parameters
        ----------
        order
            (M,) texts in the order in which they are to be looked at; others are left out.

        Yields
        ------
        tuple[int, int]
            Positions in ``order``, the earlier first.
        """
        if not self._keys or not len(order):
            return
        low = np.concatenate(self._low)[order]
        chunks = [np.zeros(0, np.uint64)]
        for band in range(self._bands.count):
            keys = np.concatenate([part[:, band] for part in self._keys])[order]
            chunks.append(_neighbours(keys))
            if len(chunks) > 4:  # noqa: PLR2004 - keeps memory bounded
                chunks = [np.unique(np.concatenate(chunks))]
        found = np.unique(np.concatenate(chunks))
        later, earlier = found >> np.uint64(32), found & np.uint64(0xFFFFFFFF)
        for start in range(0, len(found), 65536):
            part = slice(start, start + 65536)
            shared = (low[later[part]] == low[earlier[part]]).mean(axis=1)
            likely = np.flatnonzero(shared >= self.threshold - MARGIN) + start
            yield from zip(earlier[likely].tolist(), later[likely].tolist(), strict=True)


def _neighbours(keys: Numbers) -> Numbers:
    """Rows with equal keys, as later << 32 | earlier: each with its bucket's first and the few before it."""
    order = np.argsort(keys, kind="stable").astype(np.uint64)
    ordered = keys[order]
    equal = ordered[1:] == ordered[:-1]
    if not equal.any():
        return np.zeros(0, np.uint64)
    member = np.zeros(len(keys), bool)
    member[1:] |= equal
    member[:-1] |= equal
    rows, values = order[member], ordered[member]
    begins = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    first = np.repeat(rows[begins], np.diff(np.append(begins, len(rows))))
    found = [(rows << np.uint64(32) | first)[rows != first]]
    for step in range(1, min(NEIGHBOURS, len(rows) - 1) + 1):
        same = values[step:] == values[:-step]
        if not same.any():
            break
        found.append((rows[step:] << np.uint64(32) | rows[:-step])[same])
    return np.unique(np.concatenate(found))


class Duplicate(NamedTuple):
    """A near duplicate of an earlier text."""

    of: int
    similarity: float


class Near(NamedTuple):
    """What is near what. All numbers are positions in the order that was given."""

    group: Indices
    """(M,) the first text of each one's group: texts that are linked by near duplicates."""
    duplicates: dict[int, Duplicate]
    """Texts that an earlier one stands for, which itself stays."""
    contaminated: dict[int, Duplicate]
    """Texts near one of an evaluation set."""


class Texts(NamedTuple):
    """Group forms by text: without and with what stands around the request, a jailbreak or earlier turns."""

    request: Callable[[int], str]
    whole: Callable[[int], str]
    wrapped: Callable[[int], bool]
    """Whether they differ."""


def compare(signatures: Signatures, order: Indices, num_evaluation: int, texts: Texts) -> Near:
    """Find groups and near duplicates.

    Texts are of one group if their requests are near; a text is a duplicate only if the whole is near as
    well, because the same request in two different wrappers, or behind different turns, is two lessons.

    Parameters
    ----------
    signatures
        Of the requests.
    order
        (M,) texts, those of evaluation sets first, then the others, the ones that are to stay before others.
    num_evaluation
        How many of them are of evaluation sets.
    texts
        The texts themselves.
    """
    search = _Search(signatures.threshold, order, num_evaluation, texts)
    for one, other in signatures.pairs(order):
        search.look_at(one, other)
    groups = np.fromiter(map(search.root, range(len(order))), np.int64, len(order))
    return Near(groups, search.duplicates, search.contaminated)


class _Search:
    """Confirms pairs one after the other; what is known already is not looked at again."""

    def __init__(self, threshold: float, order: Indices, num_evaluation: int, texts: Texts) -> None:
        self._threshold = threshold
        self._num_evaluation = num_evaluation
        self._parent = list(range(len(order)))
        self._order = order
        self._texts = texts
        self._requests = lru_cache(maxsize=8192)(lambda text: shingles(texts.request(int(order[text]))))
        self._wholes = lru_cache(maxsize=1024)(lambda text: shingles(texts.whole(int(order[text]))))
        self.duplicates: dict[int, Duplicate] = {}
        self.contaminated: dict[int, Duplicate] = {}

    def root(self, text: int) -> int:
        """The first text of a text's group."""
        while self._parent[text] != text:
            self._parent[text] = self._parent[self._parent[text]]
            text = self._parent[text]
        return text

    def look_at(self, one: int, other: int) -> None:
        """Confirm a pair, the earlier text first."""
        if other < self._num_evaluation or one in self.contaminated or other in self.contaminated:
            return
        known = one in self.duplicates or other in self.duplicates
        if known and self.root(one) == self.root(other):
            return
        near = similarity(self._requests(one), self._requests(other))
        if near < self._threshold:
            return
        if one < self._num_evaluation:
            self.contaminated[other] = Duplicate(one, near)
            return
        first, second = sorted((self.root(one), self.root(other)))
        self._parent[second] = first
        if known:
            return
        if any(self._texts.wrapped(int(self._order[text])) for text in (one, other)):
            near = similarity(self._wholes(one), self._wholes(other))
        if near >= self._threshold:
            self.duplicates[other] = Duplicate(one, near)
