"""The cold tier: blocks and checkpoints of the KV cache on SSD.

    store     what the engine talks to; never blocks, never raises
    writer    the thread that writes, evicts and tidies up     reader    the thread that reads
    file      one block as a safetensors file                  arrays    MLX ⇄ bytes

The directory itself (names, index, sizes) is `daemon.cold`, which the front shares. Only `arrays`
knows MLX: everything else holds plain bytes.
"""
