"""`python -m fastmlx.daemon.engine.about`: what MLX says of itself and its device, as JSON."""

from __future__ import annotations

import json
from importlib.metadata import version


def main() -> None:
    import mlx.core as mx

    from .device import is_metal

    two = mx.array([1.0]) + mx.array([1.0])
    mx.eval(two)
    metal = is_metal()
    said = {
        "mlx": version("mlx"),
        "mlx_lm": version("mlx-lm"),
        "metal": metal,
        "computes": two.item() == 2.0,
        "device": {key: str(value) for key, value in mx.device_info().items()} if metal else {},
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
