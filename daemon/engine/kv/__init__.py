"""KV caches. For now: the batch of mlx-lm's per-layer caches (`batch_cache`)."""
