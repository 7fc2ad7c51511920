"""Train the demo model on the CPU: `python -m fastmlx.daemon.demo.train OUT`.

OUT gets tokenizer.json and checkpoint.pt; a run that was stopped goes on from there.
`python -m fastmlx.daemon.demo.export OUT` makes the shipped folder of it. A run takes about 45
minutes on two free cores with AVX-512 and bfloat16. The shipped weights saw 4,150 steps (15.6
million tokens), in stages: the corpus was widened and the learning rate raised again on the way.
"""

import argparse
import copy
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]  # an extra
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]  # an extra
from tokenizers import Tokenizer

from .muon import Muon
from .network import Qwen3, Shape
from .tokens import Batch, Corpus, train_tokenizer

VOCAB_SIZE = 2048
MUON_LR = 0.02
ADAM_LR = 2e-3
WARMUP_STEPS = 60
SAVE_EVERY = 100


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=4800)
    parser.add_argument("--decay-steps", type=int, default=2700, help="the last steps, lr → 0")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="of one half of a step")
    parser.add_argument("--copy-rounds", type=int, default=1, help="rounds half of random copies")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)
    train(options)


def train(options: argparse.Namespace) -> None:
    """Run until `options.steps`, from the last checkpoint if there is one."""
    tokenizer_file, checkpoint_file = options.out / "tokenizer.json", options.out / "checkpoint.pt"
    if not tokenizer_file.exists():
        train_tokenizer(VOCAB_SIZE).save(str(tokenizer_file))
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    model = Qwen3(Shape(vocab_size=tokenizer.get_vocab_size()))
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = Muon(matrices, lr=MUON_LR)
    adam = torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0)
    done: dict[str, Any] = {"step": 0, "round": 0, "batch": 0, "tokens": 0, "seconds": 0.0}
    if checkpoint_file.exists():
        saved = torch.load(checkpoint_file)
        model.load_state_dict(saved["model"])
        muon.load_state_dict(saved["muon"])
        adam.load_state_dict(saved["adam"])
        done = saved["done"]
    replicas = [Replica(model) for _ in range(2)]
    pool = ThreadPoolExecutor(len(replicas))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; {done}", flush=True)

    corpus = Corpus(tokenizer, options.batch_tokens, options.copy_rounds)
    batches = corpus.batches(done["round"])
    losses: list[float] = []
    started = time.monotonic() - done["seconds"]
    while done["step"] < options.steps:
        rate = _rate(done["step"], options.steps, options.decay_steps)
        muon.param_groups[0]["lr"] = MUON_LR * rate
        adam.param_groups[0]["lr"] = ADAM_LR * rate
        if done["batch"] + 2 > len(batches):
            done.update(round=done["round"] + 1, batch=0)
            batches = corpus.batches(done["round"])
        halves = batches[done["batch"] : done["batch"] + 2]
        done["batch"] += 2
        losses.append(_step(model, replicas, pool, halves))
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step()
        adam.step()
        for replica in replicas:
            replica.model.load_state_dict(model.state_dict())
        done["step"] += 1
        done["tokens"] += sum(len(half.ids) * len(half.ids[0]) for half in halves)
        done["seconds"] = time.monotonic() - started
        if done["step"] % 20 == 0:
            mean = sum(losses) / len(losses)
            speed = done["tokens"] / done["seconds"]
            print(f"{done} loss {mean:.4f} {speed:.0f} tok/s", flush=True)
            losses.clear()
        if done["step"] % SAVE_EVERY == 0 or done["step"] == options.steps:
            state = {"model": model.state_dict(), "muon": muon.state_dict()}
            state |= {"adam": adam.state_dict(), "done": done}
            torch.save(state, checkpoint_file.with_suffix(".tmp"))
            checkpoint_file.with_suffix(".tmp").replace(checkpoint_file)


class Replica:
    """A bfloat16 copy of the model that works through half a batch on a thread of its own.

    One thread per replica and one core per thread: operators split over busy cores would wait
    for each other thousands of times a step; this waits once.
    """

    def __init__(self, master: Qwen3) -> None:
        self.model = copy.deepcopy(master).bfloat16()

    def gradients(self, half: Batch) -> float:
        """Accumulates the gradients of the summed loss, which is returned."""
        torch.set_num_threads(1)  # counts for the calling thread
        ids = torch.tensor(half.ids)
        weights = torch.tensor(half.weights)[:, 1:]
        mask = weights > 0
        logits = self.model(ids[:, :-1], mask)
        losses = F.cross_entropy(logits.float(), ids[:, 1:][mask], reduction="none")
        loss = (losses * weights[mask]).sum()
        (loss / 256).backward()  # keeps bfloat16 gradients near 1
        return loss.item()


def _step(master: Qwen3, replicas: list[Replica], pool: Executor, halves: list[Batch]) -> float:
    """Gradients of the weighted mean loss of what is said into `master`; returns that mean."""
    count = sum(sum(map(sum, half.weights)) for half in halves)
    total = sum(
        pool.map(lambda pair: pair[0].gradients(pair[1]), zip(replicas, halves, strict=True))
    )
    copies = [list(replica.model.parameters()) for replica in replicas]
    for param, *fast in zip(master.parameters(), *copies, strict=True):
        param.grad = torch.stack([p.grad.float() for p in fast if p.grad is not None]).sum(0)
        param.grad *= 256 / count
        for p in fast:
            p.grad = None
    return total / count


def _rate(step: int, steps: int, decay_steps: int) -> float:
    """Warm-up, stable, linear decay."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm * min(1.0, (steps - step) / max(1, decay_steps))


if __name__ == "__main__":
    main()
