"""KV caches of the rows that decode together: `groups` decides, the others hold."""
