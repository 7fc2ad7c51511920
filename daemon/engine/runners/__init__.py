"""One module per kind of model: batches in, logits (or vectors, audio, …) out; no decisions."""
