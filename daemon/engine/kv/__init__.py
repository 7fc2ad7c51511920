"""KV caches of the rows that decode together: `groups` decides, `layers` and `ragged` hold."""
