"""What is remembered in SQLite: one row per request, and the responses that clients have kept."""
