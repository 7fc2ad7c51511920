"""The cold tier's directory: which blocks of the KV cache lie on SSD, and how much they take.

Like `daemon.protocol` a border between processes: every engine writes here, the front counts and
clears. It knows names, sizes and use, and nothing of what is in a block.
"""
