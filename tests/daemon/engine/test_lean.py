"""What an engine's process imports of what mlx-lm would bring along."""

from __future__ import annotations

import subprocess
import sys

CODE = """\
import sys
from fastmlx.daemon.engine import lean
lean.install()
from fastmlx.daemon.engine import core, grammar, loader, prefixes
from fastmlx.daemon.engine.adapters import experts, install
from fastmlx.daemon.engine.embedding import loader as embedding
from fastmlx.daemon.engine.runners import text, warmup
for name in ("transformers", "torch", "huggingface_hub", "httpx2", "tqdm", "llguidance"):
    assert name not in sys.modules, name
import huggingface_hub
assert callable(huggingface_hub.hf_hub_download), "a model's own file gets the real one"
"""


def test_an_engine_imports_neither_transformers_nor_the_hub_s_client() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
