"""How tokens are chosen: the parameters that travel from the dialect to the sampler."""

from __future__ import annotations

import msgspec


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sampling parameters of one sequence, resolved: no None means "the model's default" here.

    The order of application is the one of vLLM and mlx-lm: logit_bias, penalties, then (unless
    temperature is 0, which is greedy) temperature, top_k, top_p, min_p on the scaled distribution.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0 keeps all
    min_p: float = 0.0
    repetition_penalty: float = 1.0  # over prompt and output tokens, as in vLLM
    presence_penalty: float = 0.0  # over output tokens
    frequency_penalty: float = 0.0  # over output tokens
    logit_bias: dict[int, float] = {}  # token id -> added to its logit
    seed: int = 0  # random numbers are keyed by (seed, position): a replay yields the same tokens
    max_tokens: int = 1  # output tokens, at most
    min_tokens: int = 0  # until then no stop token is sampled
    stop_token_ids: tuple[int, ...] = ()  # end of text of the model, unless ignored, and the user's
    top_logprobs: int = -1  # -1: none; 0: of the chosen token; n: of the n likeliest too
    prompt_logprobs: int = -1  # the same of the prompt's tokens; all of it is computed then
