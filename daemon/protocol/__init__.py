"""Everything that crosses a border of the house, as plain data.

`requests` comes in from a dialect, `sampling` travels with it, `wire` crosses the process border
between front and engine over a `channel`, `events` go out to a dialect, `errors` may come out of
anywhere. Nothing here does anything.
"""
