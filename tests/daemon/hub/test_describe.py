"""Model folders, whole and broken, as `describe` sees them."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from fastmlx.daemon.hub.describe import describe
from fastmlx.daemon.hub.footprint import load_bytes
from fastmlx.daemon.hub.weights import read_header
from fastmlx.daemon.protocol.errors import ModelFailed
from folders import write_model, write_safetensors
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", weights_bytes=5000)


def shard(folder: Path, *, index: dict[str, str], present: dict[str, int]) -> Path:
    """Replace the single weight file by shards."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    for name, size in present.items():
        write_safetensors(folder / name, {"w": size})
    return folder


def test_a_whole_folder_is_described_without_reading_weights(folder: Path):
    info = describe(folder)
    assert (info.architecture, info.kind, info.context, info.num_layers) == (
        "llama",
        "text",
        4096,
        2,
    )
    assert (info.weights_bytes, info.num_tensors, info.quantization) == (5000, 1, None)
    assert info.kv_bytes_per_token == 2 * 2 * 2 * 16 * 2


def test_shards_are_added_up(folder: Path):
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    shard(folder, index={"a": names[0], "b": names[1]}, present={names[0]: 700, names[1]: 50})
    assert describe(folder).weights_bytes == 750


def test_a_huge_model_takes_no_time(tmp_path: Path):
    assert describe(write_model(tmp_path, weights_bytes=1 << 40)).weights_bytes == 1 << 40


def test_links_as_in_the_hub_cache_are_followed_and_dangling_ones_are_missing(folder: Path):
    blob = folder.parent / "blob"
    weights = folder / "model.safetensors"
    weights.rename(blob)
    weights.symlink_to(blob)
    assert describe(folder).weights_bytes == 5000
    blob.unlink()
    with pytest.raises(ModelFailed, match=r"model.safetensors cannot be read: No such file"):
        describe(folder)
    weights.unlink()
    weights.symlink_to(weights)
    with pytest.raises(ModelFailed, match="symbolic links"):
        describe(folder)


def test_a_missing_shard_is_named(folder: Path):
    shard(folder, index={"a": "model-1.safetensors", "b": "model-2.safetensors"},
          present={"model-1.safetensors": 10})  # fmt: skip
    with pytest.raises(ModelFailed, match=r"names model-2.safetensors, which is not there"):
        describe(folder)


def test_many_missing_shards_are_counted(folder: Path):
    shard(folder, index={str(i): f"model-{i}.safetensors" for i in range(9)}, present={})
    with pytest.raises(ModelFailed, match=r"model-0.*model-2.safetensors and 6 more, which are"):
        describe(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', "\udcff"])
def test_a_broken_index_is_an_error(folder: Path, text: str):
    index = folder / "model.safetensors.index.json"
    index.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelFailed, match=r"index.json is damaged"):
        describe(folder)


def test_a_truncated_file_is_noticed_and_says_how_much_is_there(folder: Path):
    weights = folder / "model.safetensors"
    size = weights.stat().st_size
    with weights.open("r+b") as file:
        file.truncate(size - 1)
    with pytest.raises(ModelFailed, match=f"cut short: {size - 1} of {size} bytes"):
        describe(folder)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "only 0 bytes"),
        (b"1234567", "only 7 bytes"),
        (struct.pack("<Q", 2**63), "claims 9223372036854775808 bytes"),
        (struct.pack("<Q", 500) + b"{}", "ends within its header"),
        (struct.pack("<Q", 2) + b"[]", "not what safetensors writes"),
        (struct.pack("<Q", 2) + b"\xff\xff", "not what safetensors writes"),
        (struct.pack("<Q", 8) + b'{"a": 1}', "not what safetensors writes"),
        (struct.pack("<Q", 50_000) + b'{"a":'.ljust(50_000, b"["), "not what safetensors writes"),
    ],
)
def test_damaged_headers_are_described(folder: Path, data: bytes, message: str):
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelFailed, match=message):
        describe(folder)


def test_tensors_at_impossible_places_are_refused(tmp_path: Path):
    header = json.dumps({"a": {"dtype": "F16", "shape": [1], "data_offsets": [9, 3]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(20))
    with pytest.raises(ModelFailed, match="tensor a lies at 9 to 3"):
        read_header(path)


@given(data=st.binary(max_size=200))
def test_random_bytes_are_a_clear_error_or_a_header(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
):
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    for start in (b"", struct.pack("<Q", max(0, len(data) - 3))):
        path.write_bytes(start + data)
        try:
            read_header(path)
        except ModelFailed as error:
            assert str(path) in error.message


def test_no_folder_no_config_no_weights(tmp_path: Path, folder: Path):
    with pytest.raises(ModelFailed, match="does not exist"):
        describe(tmp_path / "nowhere")
    with pytest.raises(ModelFailed, match="is not a folder"):
        describe(folder / "config.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFailed, match=r"no weights: there is no model\*\.safetensors"):
        describe(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelFailed, match=r"has no config.json"):
        describe(folder)
    (folder / "config.json").mkdir()
    with pytest.raises(ModelFailed, match="cannot be read: Is a directory"):
        describe(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "no model_type"),
        ("{}", "no model_type"),
        ('{"model_type": 3}', "no model_type"),
        ("[" * 100_000, "not valid JSON"),
        (
            '{"model_type": "x", "text_config":' * 900 + "1" + "}" * 900,
            "nested more than 64 levels",
        ),
        ("\udcff\udcfe", "not valid JSON"),
        ('{"model_type": "\\ud83d"}', "not valid JSON: .* surrogates"),
    ],
)
def test_broken_configs_are_described(folder: Path, text: str, message: str):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelFailed, match=message):
        describe(folder)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"quantization": {"bits": 4, "group_size": 64}}, "4-bit, group 64"),
        ({"quantization": {"bits": 8, "group_size": 32, "mode": "affine"}}, "8-bit, group 32"),
        ({"quantization": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}, "mxfp4 4-bit, group 32"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
        ({"quantization": {}}, None),
        ({"quantization": "yes"}, None),
    ],
)
def test_quantisation_is_named(tmp_path: Path, config: dict[str, Any], expected: str | None):
    assert describe(write_model(tmp_path, **config)).quantization == expected


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, "text"),
        ({"architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {}}, "vision"),
        ({"architectures": ["BertModel"]}, "embedding"),
        (
            {"architectures": ["Gemma3TextModel"], "use_bidirectional_attention": True},
            "embedding",
        ),
        ({"architectures": ["XLMRobertaForSequenceClassification"]}, "reranker"),
        ({"architectures": ["WhisperForConditionalGeneration"]}, "transcription"),
    ],
)
def test_kinds_are_recognised(tmp_path: Path, config: dict[str, Any], kind: str):
    assert describe(write_model(tmp_path, **config)).kind == kind


@pytest.mark.parametrize(
    ("architecture", "extra", "kind"),
    [
        ("Qwen3ForCausalLM", "1_Pooling", "embedding"),
        ("Qwen3ForCausalLM", "1_LogitScore", "reranker"),
        ("BertForSequenceClassification", "1_Pooling", "reranker"),
    ],
)
def test_the_files_of_sentence_transformers_say_the_kind(
    tmp_path: Path, architecture: str, extra: str, kind: str
):
    folder = write_model(tmp_path, architectures=[architecture])
    (folder / extra).mkdir()
    assert describe(folder).kind == kind


def test_the_context_of_a_nested_text_model_is_found(tmp_path: Path):
    nested: dict[str, Any] = {
        "text_config": {"max_position_embeddings": 99, "num_hidden_layers": 7}
    }
    info = describe(write_model(tmp_path, max_position_embeddings=None, **nested))
    assert (info.context, info.num_layers) == (99, 7)
    assert describe(write_model(tmp_path, max_position_embeddings=None)).context is None


# ---- what somebody else has put into the folder


def test_links_to_other_places_are_refused_but_from_weights(folder: Path, tmp_path: Path):
    secret = tmp_path / "secret.json"
    secret.write_text('{"api": "key"}')
    (folder / "tokenizer_config.json").symlink_to(secret)
    with pytest.raises(ModelFailed, match=r"tokenizer_config\.json links to .*outside"):
        describe(folder)


def test_so_are_links_from_folders(folder: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelFailed, match=r"1_Pooling links to .*outside"):
        describe(folder)


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "num_local_experts", "depth"])
def test_a_model_of_absurdly_many_parts_is_refused(tmp_path: Path, key: str):
    folder = write_model(tmp_path, **{key: 10**9}, block_size=131_072)
    with pytest.raises(ModelFailed, match=f"{key} is more than 10,000"):
        describe(folder)
    folder = write_model(tmp_path, text_config={key: -(10**30)})
    with pytest.raises(ModelFailed, match=f"{key} is more than 10,000"):
        describe(folder)


def test_numbers_beyond_all_measure_say_nothing(tmp_path: Path):
    absurd = ("max_position_embeddings", "hidden_size", "head_dim", "sliding_window", "vocab_size")
    info = describe(write_model(tmp_path, **dict.fromkeys(absurd, 10**30)))
    assert info.context is None
    assert 0 < info.kv_bytes_per_token < 1 << 30
    info = describe(write_model(tmp_path, **dict.fromkeys(absurd, 2**31), num_attention_heads=9999))
    assert load_bytes(info, None) < 1 << 63, "it can be told in JSON"


def test_a_snapshot_of_the_hub_may_link_to_its_own_blobs_alone(tmp_path: Path):
    repository = tmp_path / "models--org--name"
    snapshot = write_model(repository / "snapshots" / "abc", weights_bytes=100)
    (repository / "blobs").mkdir()
    blob = repository / "blobs" / "123"
    (snapshot / "config.json").rename(blob)
    (snapshot / "config.json").symlink_to("../../blobs/123")
    assert describe(snapshot).weights_bytes == 100
    (snapshot / "chat_template.jinja").symlink_to("../../../elsewhere")
    (tmp_path / "elsewhere").write_text("x")
    with pytest.raises(ModelFailed, match="outside"):
        describe(snapshot)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_what_is_no_file_is_not_opened(folder: Path, name: str):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ModelFailed, match="not a regular file"):
        describe(folder)


@pytest.mark.parametrize(("name", "mib"), [("tokenizer.json", 128), ("tokenizer_config.json", 16)])
def test_a_text_that_would_fill_the_memory_is_not_read(folder: Path, name: str, mib: int):
    with (folder / name).open("wb") as file:
        file.truncate((mib << 20) + 1)
    with pytest.raises(ModelFailed, match=f"{name} is larger than {mib} MiB"):
        describe(folder)


def test_code_and_pickles_of_a_model_are_never_run(folder: Path):
    write_model(folder, model_file="model.py")
    with pytest.raises(ModelFailed, match="never runs code"):
        describe(folder)
    write_model(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelFailed, match=r"pytorch_model\.bin.*never runs them"):
        describe(folder)
    write_model(folder, model_type="../../evil")
    with pytest.raises(ModelFailed, match="model_type"):
        describe(folder)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", ".."])
def test_an_index_names_files_beside_it(folder: Path, name: str):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(ModelFailed, match="not a file beside it"):
        describe(folder)


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [10], "data_offsets": [0, 10]},
        {"dtype": "U8", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 10]},
        {"dtype": "U8", "shape": [-1], "data_offsets": [0, 10]},
        {"dtype": "U8", "shape": [1] * 1000, "data_offsets": [0, 1]},
    ],
)
def test_a_header_whose_shapes_lie_is_refused(folder: Path, tensor: dict[str, Any]):
    text = json.dumps({"w": tensor}).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(100)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFailed, match="damaged"):
        describe(folder)
