"""`builtin:demo`: a toy Qwen3 model that proves an installation, and how it was made.

`model/` is all that is used at run time. `corpus/` generates the text, `train.py` trains on it
with PyTorch (the extra `train`), `export.py` writes the folder.
"""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "model"
