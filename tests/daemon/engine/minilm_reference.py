"""Makes minilm.json: what PyTorch's MiniLM says of some texts. Run by hand, where torch is,
with the model's folder (`tests/minilm.py` fetches it):

    python tests/daemon/engine/minilm_reference.py FOLDER

Mean pooling over transformers' BertModel in float32, normalised, as the model's card says
(https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
"""

from __future__ import annotations

import base64
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

TEXTS = [
    "The cat sits on the mat.",
    "A feline rests upon a rug.",
    "Quarterly revenue grew by four percent.",
    "Zażółć gęślą jaźń — 日本語テキスト 🚀",
    "x",
    "word " * 200,
]


def main() -> None:
    torch: Any = import_module("torch")  # not there where the tests run
    from transformers import AutoModel, AutoTokenizer

    folder = Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    vectors: list[str] = []
    counts: list[int] = []
    for text in TEXTS:
        inputs = tokenizer(text, return_tensors="pt", truncation=False)
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state[0]
        vector = torch.nn.functional.normalize(hidden.mean(dim=0), dim=0)
        counts.append(int(inputs["input_ids"].shape[1]))
        vectors.append(base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode())
    said = {"texts": TEXTS, "tokens": counts, "vectors": vectors}
    file = Path(__file__).with_name("minilm.json")
    file.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
