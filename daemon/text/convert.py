"""`python -m fastmlx.daemon.text.convert FOLDER`: a model's tokenizer as tokenizer.json, on stdout.

For folders that hold only older files. The only module of the front's side that imports
transformers, and it runs as a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import sys


def main(folder: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()):  # stdout is the result alone
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            print(" ".join(str(error).split()), file=sys.stderr)
            return 1
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        kind = type(tokenizer).__name__
        print(f"{kind} has no equal in the tokenizers library.", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(backend.to_str().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
