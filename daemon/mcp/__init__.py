"""Servers of the Model Context Protocol that this daemon is a client of.

Nothing here imports the SDK (package `mcp`, some 30 MB) before a server is declared in mcp.json.
"""
