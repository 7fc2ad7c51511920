"""The engine: one process, one model. The only package that may import mlx.

A step is read top down in `core.EngineCore.step`: schedule → run → read → deliver. `scheduler`
decides and holds no arrays; `runners` hold arrays and decide nothing; `loop` speaks to the front.
"""
