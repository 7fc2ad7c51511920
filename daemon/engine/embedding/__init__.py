"""An engine that makes vectors of texts instead of more text."""
