"""The one seam between the engine and what its machine computes with.

On Apple Silicon that is Metal; on Linux MLX's CPU backend, on which all tests run. Whatever is
true only for Metal stands here and was not run on the test machines.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn


def is_metal() -> bool:
    return mx.default_device() == mx.gpu and mx.metal.is_available()


def set_limits(memory_limit_bytes: int | None) -> None:
    """Bounds MLX's allocations and, on Metal, wires up to the recommended working set.

    Wiring keeps macOS from paging weights out while other programs press for memory
    (https://ml-explore.github.io/mlx/build/html/python/_autosummary/mlx.core.set_wired_limit.html).
    """
    if memory_limit_bytes is not None:
        mx.set_memory_limit(memory_limit_bytes)
    if is_metal():
        recommended = int(mx.device_info()["max_recommended_working_set_size"])
        mx.set_wired_limit(min(recommended, memory_limit_bytes or recommended))


def bound_memory(limit_bytes: int) -> None:
    """Another bound for MLX's allocations; buffers that it keeps for reuse count."""
    mx.set_memory_limit(limit_bytes)


def release_unused_memory() -> None:
    """Gives MLX's freed but kept buffers back to the system."""
    mx.clear_cache()


def adapt(model: nn.Module) -> str | None:
    """Puts the weights into the form in which this device computes best.

    MLX's CPU backend has fast kernels for float32 only (bfloat16 is up to 30 times slower, and
    half-precision experts are not implemented), so there half-precision weights are widened.
    Returns a sentence for the model's notes when something was changed.
    """
    if is_metal():
        return None
    half = {mx.bfloat16, mx.float16}
    found = any(p.dtype in half for _, p in parameters(model))
    if not found:
        return None
    model.set_dtype(mx.float32, lambda dtype: dtype in half)
    return "half-precision weights run as float32 on the CPU backend"


def parameters(model: nn.Module) -> list[tuple[str, mx.array]]:
    """All weights with their names."""
    from mlx.utils import tree_flatten

    return tree_flatten(model.parameters())  # type: ignore[return-value]
