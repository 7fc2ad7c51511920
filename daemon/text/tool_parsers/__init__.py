"""Tool parsers, one module a format; see `parsing` for what a module holds."""
