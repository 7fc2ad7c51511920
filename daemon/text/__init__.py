"""Text and tokens: templates, tokenizers, streams of tokens to streams of events."""
