"""atheris over one of the targets, by hand: `python tests/fuzz/drive.py NAME [SECONDS]`.

It runs for so many seconds of its own CPU time, however busy the machine is, and says how many
inputs it tried. What fails is written to kept/NAME/, where test_targets.py finds it from then on.
Needs the extra `fuzz`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports]

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

with atheris.instrument_imports(include=["fastmlx", "fuzz"]):  # pyright: ignore
    from fuzz.seeds import seeds
    from fuzz.targets import TARGETS
    from fuzz.words import words


def main() -> None:
    name, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 600
    target = TARGETS[name]
    kept = HERE / "kept" / name
    kept.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    dictionary = folder / "words"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words(name) if word))
    tried = 0

    def bounded(data: bytes) -> None:
        nonlocal tried
        target(data)
        tried += 1
        if not tried % 64 and time.process_time() > seconds:
            print(f"{name}: {tried} inputs in {time.process_time():.0f} s, none failed", flush=True)
            os._exit(0)

    options = [
        f"-artifact_prefix={kept}/",
        f"-dict={dictionary}",
        "-timeout=300",  # a fuzzer may be frozen meanwhile
        "-report_slow_units=300",
        "-max_len=8192",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), str(kept), *options], bounded)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in word.encode()
    )


if __name__ == "__main__":
    main()
