"""The demo model's tokenizer, and batches of tokens to train on."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .corpus import conversations

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKERS = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)
MAX_TOKENS = 768  # of one conversation; longer ones are left out
DECISION_WEIGHT = 3.0  # of the first two tokens of an answer
_TOKENIZER_SEED = 0
_FIRST_SEED = 1


def train_tokenizer(vocab_size: int, samples: int = 20_000, glued: int = 300) -> Tokenizer:
    """A byte-level BPE. Digits stand alone, and so does the space before most words.

    Only the `glued` most frequent lower-case words keep the space before them. A name, a number
    or an identifier is thus the same tokens after a space, a quote or a newline, which is what a
    tiny model needs for copying.
    """
    texts = list(islice(conversations(_TOKENIZER_SEED), samples))
    counts = Counter(
        word for text in texts for word in text.split(" ") if word.isalpha() and word.islower()
    )
    common = "|".join(sorted(word for word, _ in counts.most_common(glued)))
    pattern = (
        rf" (?:{common})(?![\p{{L}}\p{{N}}_])|\p{{N}}|\p{{L}}+|\n+| +|"
        r"[^\s\p{L}\p{N}]+|\s+"
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]  # a setter
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]  # a setter
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    markers = [AddedToken(token, special=False, normalized=False) for token in MARKERS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKERS),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The markers must not be learned as text, so they are cut out before the merges are counted.
    tokenizer.train_from_iterator((_without_marks(text) for text in texts), trainer)
    tokenizer.add_tokens(markers)
    return tokenizer


def _without_marks(text: str) -> str:
    for mark in (*SPECIAL, *MARKERS):
        text = text.replace(mark, "\n")
    return text


class Example(NamedTuple):
    """One conversation."""

    ids: list[int]
    weights: list[float]  # of the token's loss; 0 for what the assistant does not say


class Batch(NamedTuple):
    """Conversations of similar length, padded at the end with token 0."""

    ids: list[list[int]]
    weights: list[list[float]]


class Corpus:
    """Endless batches; batch n is the same whenever it is asked for."""

    def __init__(self, tokenizer: Tokenizer, batch_tokens: int, copy_rounds: int) -> None:
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens
        self.copy_rounds = copy_rounds
        self._think_off = tokenizer.encode("<think>\n\n</think>\n\n").ids
        self._opening = tokenizer.encode("<|im_start|>assistant\n").ids
        self._end: int = tokenizer.encode("<|im_end|>").ids[0]

    def batches(self, round_: int, examples: int = 4096) -> list[Batch]:
        """The batches of one round, shuffled."""
        rng = random.Random(f"round {round_}")
        texts = list(islice(conversations(_FIRST_SEED + round_), examples))
        found = [self.example(e.ids) for e in self.tokenizer.encode_batch(texts)]
        found = [example for example in found if len(example.ids) <= MAX_TOKENS]
        copies = examples // (2 if round_ < self.copy_rounds else 10)
        found[-copies:] = [self._random_copy(rng) for _ in range(copies)]
        found.sort(key=lambda example: len(example.ids))
        batches: list[Batch] = []
        chosen: list[Example] = []
        for example in found:
            if (len(chosen) + 1) * len(example.ids) > self.batch_tokens and chosen:
                batches.append(_pad(chosen))
                chosen = []
            chosen.append(example)
        batches.append(_pad(chosen))
        rng.shuffle(batches)
        return batches

    def example(self, ids: list[int]) -> Example:
        """Weighs what the assistant says: all after its opening and after an empty think block."""
        weights = [0.0] * len(ids)
        for start in _occurrences(ids, self._opening):
            begin = start + len(self._opening)
            if ids[begin : begin + len(self._think_off)] == self._think_off:
                begin += len(self._think_off)
            end = ids.index(self._end, begin)
            weights[begin : end + 1] = [1.0] * (end + 1 - begin)
            # Here it is decided what is answered; the rest often follows by itself.
            weights[begin : begin + 2] = [DECISION_WEIGHT] * 2
        return Example(ids, weights)

    def _random_copy(self, rng: random.Random) -> Example:
        """Random tokens, said twice: induction heads form before anything else is learned."""
        marks = len(SPECIAL)
        top = self.tokenizer.get_vocab_size() - len(MARKERS)
        content = [rng.randrange(marks, top) for _ in range(rng.randint(3, 40))]
        question = self.tokenizer.encode("<|im_start|>user\nRepeat: ").ids
        close = self.tokenizer.encode("<|im_end|>\n").ids
        before = [*question, *content, *close, *self._opening, *self._think_off]
        said = [*content, self._end]
        return Example(before + said, [0.0] * len(before) + [1.0] * len(said))


def _occurrences(ids: list[int], part: list[int]) -> Iterator[int]:
    for at, token in enumerate(ids):
        if token == part[0] and ids[at : at + len(part)] == part:
            yield at


def _pad(examples: list[Example]) -> Batch:
    width = max(len(example.ids) for example in examples)
    return Batch(
        [example.ids + [0] * (width - len(example.ids)) for example in examples],
        [example.weights + [0.0] * (width - len(example.ids)) for example in examples],
    )
