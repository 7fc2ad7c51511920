"""What is remembered in SQLite: one row per request."""
