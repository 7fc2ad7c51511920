"""atheris over one of the targets, by hand: `python tests/fuzz/drive.py NAME [SECONDS]`.

What fails is written to kept/NAME/, where test_targets.py finds it from then on. Needs the extra
`fuzz`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports]

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

with atheris.instrument_imports(include=["fastmlx"]):  # pyright: ignore
    from fuzz.targets import TARGETS, seeds


def main() -> None:
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "600"
    kept = HERE / "kept" / name
    kept.mkdir(parents=True, exist_ok=True)
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={kept}/", "-timeout=20"]
    atheris.Setup([sys.argv[0], str(corpus), str(kept), *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
