"""How rerankers read two texts: next to each other, or in a question that they answer.

The prompt of Qwen3-Reranker is its authors' own:
https://huggingface.co/Qwen/Qwen3-Reranker-0.6B
"""

from __future__ import annotations

from ..protocol.errors import BadRequest, ContextTooLong, ModelFailed
from .tokenizer import Pair, Tokenizer

BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


class CrossEncoderPairs:
    """For models that were trained on pairs: the tokenizer says how they are joined."""

    labels: tuple[int, int] | None = None

    def __init__(self, tokenizer: Tokenizer, instruction: str | None) -> None:
        """Raises BadRequest: such a model takes no instruction."""
        if instruction is not None:
            raise BadRequest("This model takes no instruction.", param="instruction")
        self._tokenizer = tokenizer

    def pair(self, query: str, document: str, limit: int | None) -> Pair:
        """Of at most `limit` tokens; the end of the document is cut off. Raises ContextTooLong when
        the query alone is too long."""
        try:
            return self._tokenizer.encode_pair(query, document, limit)
        except OverflowError:
            raise _too_long(limit) from None


class QuestionPairs:
    """For Qwen3-Reranker, which answers with yes or no."""

    def __init__(self, tokenizer: Tokenizer, instruction: str | None) -> None:
        """Raises ModelFailed when its tokenizer knows no such words."""
        self._encode = tokenizer.encode
        self._before = tokenizer.encode(BEFORE)
        self._after = tokenizer.encode(AFTER)
        self._instruction = INSTRUCTION if instruction is None else instruction
        words = [tokenizer.encode("no"), tokenizer.encode("yes")]
        if any(len(word) != 1 for word in words) or words[0] == words[1]:
            raise ModelFailed("The model's tokenizer has no single tokens for no and yes.")
        self.labels = (words[0][0], words[1][0])

    def pair(self, query: str, document: str, limit: int | None) -> Pair:
        start = f"<Instruct>: {self._instruction}\n<Query>: {query}\n<Document>: "
        middle = self._encode(start + document)
        if limit is not None:
            room = limit - len(self._before) - len(self._after)
            if len(middle) > room:
                if room <= len(self._encode(start)):
                    raise _too_long(limit)
                del middle[room:]
        return Pair([*self._before, *middle, *self._after], 0)


def _too_long(limit: int | None) -> ContextTooLong:
    return ContextTooLong(
        f"The query leaves no room for a document: the model reads at most {limit} tokens.",
        param="query",
        context=limit,
    )


def pairs_of(
    architecture: str, tokenizer: Tokenizer, instruction: str | None
) -> CrossEncoderPairs | QuestionPairs:
    """What a reranker of this architecture (config.json's model_type) reads."""
    make = QuestionPairs if architecture == "qwen3" else CrossEncoderPairs
    return make(tokenizer, instruction)
