"""Qwen3 in PyTorch, just enough of it to train the demo model. Needs the extra `train`."""

from dataclasses import asdict, dataclass
from typing import Any

import torch  # pyright: ignore[reportMissingImports]  # an extra
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]  # an extra
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]  # an extra

LONGEST = 1024  # tokens of one training example, at most


@dataclass(frozen=True)
class Shape:
    """The hyperparameters, under the names of Hugging Face's config.json."""

    vocab_size: int
    hidden_size: int = 192
    num_hidden_layers: int = 6
    intermediate_size: int = 384
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    rms_norm_eps: float = 1e-6
    rope_theta: float = 100_000.0
    max_position_embeddings: int = 32768

    def as_dict(self) -> dict[str, Any]:
        """The fields as config.json has them."""
        return asdict(self)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, dim = shape.hidden_size, shape.head_dim
        self.q_proj = nn.Linear(width, shape.num_attention_heads * dim, bias=False)
        self.k_proj = nn.Linear(width, shape.num_key_value_heads * dim, bias=False)
        self.v_proj = nn.Linear(width, shape.num_key_value_heads * dim, bias=False)
        self.o_proj = nn.Linear(shape.num_attention_heads * dim, width, bias=False)
        self.q_norm = nn.RMSNorm(dim, eps=shape.rms_norm_eps)
        self.k_norm = nn.RMSNorm(dim, eps=shape.rms_norm_eps)
        self.future: Tensor
        future = torch.full((LONGEST, LONGEST), -1e9).triu(1)
        self.register_buffer("future", future, persistent=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, tokens, hidden) → the same."""
        batch, tokens, _ = x.shape
        dim = self.shape.head_dim
        q = self.q_norm(self.q_proj(x).view(batch, tokens, -1, dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(batch, tokens, -1, dim)).transpose(1, 2)
        v = self.v_proj(x).view(batch, tokens, -1, dim).transpose(1, 2)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        groups = self.shape.num_attention_heads // self.shape.num_key_value_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        # Written out: at a few hundred tokens this is faster on a CPU than the fused kernel.
        scores = (q * dim**-0.5) @ k.mT + self.future[:tokens, :tokens]
        out = scores.softmax(dim=-1) @ v
        return self.o_proj(out.transpose(1, 2).reshape(batch, tokens, -1))


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, hidden) → the same."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)
        self.input_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, tokens, hidden) → the same."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Qwen3(nn.Module):
    """The language model; its parameters carry Hugging Face's names less the `model.` prefix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList([Block(shape) for _ in range(shape.num_hidden_layers)])
        self.norm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)

    def forward(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Logits of the positions where `wanted` (batch, tokens; bool) is true: (n, vocab)."""
        shape = self.shape
        half = torch.arange(0, shape.head_dim, 2) / shape.head_dim
        angles = torch.arange(tokens.shape[1])[:, None] * shape.rope_theta ** -half[None, :]
        x = self.embed_tokens(tokens)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        # Only the answers are learned; the head is spared the rest.
        return F.linear(self.norm(x[wanted]), self.embed_tokens.weight)
