"""The tokenizer of the tiny models: ByteLevel BPE of made-up text, with a ChatML template."""

from __future__ import annotations

import json
import random
from pathlib import Path

VOCAB_SIZE = 1024

# What a ChatML tokenizer has. The first three are control tokens, the others are text to a decoder.
CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKER_TOKENS = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)

TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- '# Tools\\n\\nYou may call functions. Their signatures are in <tools></tools>:\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\\n</tools>\\n\\nFor each call return a JSON object within <tool_call></tool_call>:\\n' }}
    {{- '<tool_call>\\n{"name": <name>, "arguments": <object>}\\n</tool_call><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content }}
        {{- '\\n</tool_response><|im_end|>\\n' }}
    {%- elif message.role != 'system' or not loop.first %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {{- message.content if message.content is string else '' }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {%- if call.function.arguments is string %}
                {{- call.function.arguments }}
            {%- else %}
                {{- call.function.arguments | tojson }}
            {%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

PLAIN_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def write_tokenizer(folder: Path, *, vocab_size: int = VOCAB_SIZE, endless: bool = False) -> int:
    """Writes tokenizer.json and tokenizer_config.json; returns the id of the end token.

    The tokenizer fills `vocab_size` ids exactly; with `endless` the end token is one beyond.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    control = [token for token in CONTROL_TOKENS if not endless or token != "<|endoftext|>"]
    markers = [] if endless else list(MARKER_TOKENS)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = [] if endless else pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(markers),
        special_tokens=control,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(ascii_only=endless), trainer=trainer)
    # Transformers' own fast tokenizers keep thinking and tool markers as added, not special.
    tokenizer.add_tokens(
        [AddedToken(marker, special=False, normalized=False) for marker in markers]
    )
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(f"the text holds only {tokenizer.get_vocab_size()} of {vocab_size} tokens")
    eos = "<|im_end|>"
    if endless:
        eos = "<|endoftext|>"
        tokenizer.add_special_tokens([AddedToken(eos, special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": eos,
        "pad_token": "<|im_start|>" if endless else "<|endoftext|>",
        "bos_token": None,
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
        "chat_template": PLAIN_TEMPLATE if endless else TEMPLATE,
    }
    text = json.dumps(config, indent=2)
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return tokenizer.get_vocab()[eos]


def _corpus(*, ascii_only: bool) -> list[str]:
    """Words that do not exist, numbers, a little code and JSON and a few other scripts."""
    rng = random.Random(6590)
    onsets = (*"bcdfghjklmnprstvwz", "br", "st", "tr", "pl", "ch", "sh")
    vowels = (*"aeiou", "ai", "ea", "ou")
    codas = ("", "", "n", "r", "s", "t", "l", "nd", "st")
    words = [
        "".join(rng.choice(part) for part in (onsets, vowels, codas) * rng.randint(1, 3))
        for _ in range(2000)
    ]
    other = ["é", "naïve", "Straße", "привет", "мир", "你好", "世界", "こんにちは", "👍", "👩‍🚀"]
    lines = []
    for _ in range(3000):
        line = [rng.choice(words) for _ in range(rng.randint(4, 14))]
        line[0] = line[0].capitalize()
        if rng.random() < 0.2:
            line.append(str(rng.randint(0, 10 ** rng.randint(1, 6))))
        if not ascii_only and rng.random() < 0.2:
            line.append(rng.choice(other))
        lines.append(" ".join(line) + rng.choice(".?!"))
    lines += [f'{{"{word}": {number}, "ok": true}}' for number, word in enumerate(words[:300])]
    lines += [f"def {word}(self):\n    return {word} + 1\n" for word in words[:300]]
    # Every printable character once, so that a prompt in English loses nothing.
    lines.append("".join(map(chr, range(32, 127))) + "\n\t")
    return lines
