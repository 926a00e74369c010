"""Golden GGUF files: number formats, small models of each architecture, and token ids.

    pip install -r requirements-gguf.txt
    python make_gguf.py         # writes the folder gguf/ beside itself

`blocks.gguf` has random blocks of each number format (tensor `Q4_0`), and the f32 numbers that the gguf package makes
of them (tensor `Q4_0.values`). A model `ARCH.gguf` has small weights that follow from their Hugging Face names
(`weights`), converted as llama.cpp's converter does. `tokenizers.json` has the ids of the tokenizers of Hugging Face
and SentencePiece.
"""

import io
import json
from pathlib import Path

import numpy as np
import sentencepiece
import tokenizers
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize
from make_gguf_models import MODELS
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

OUT = Path(__file__).parent / "gguf"
FORMATS = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K".split()

# Offsets of the f16 scales of a block, and finite f16 numbers that are extreme: zeros, denormal, smallest, largest.
SCALES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
EXTREME = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF]


def write(path, arch, fields, tensors):
    """Writes a file: `fields` as (kind, key, value), `tensors` as name: (array, format)."""
    writer = GGUFWriter(path, arch)
    for kind, key, value in fields:
        getattr(writer, f"add_{kind}")(key, value)
    for name, (array, kind) in tensors.items():
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def blocks():
    """Random blocks of each format, three rows of them."""
    random = np.random.default_rng(11)
    tensors = {}
    for name in FORMATS:
        kind = Type[name]
        elements, size = GGML_QUANT_SIZES[kind]
        if name in SCALES:
            data = random.integers(0, 256, (3, 4 if elements == 32 else 2, size), dtype=np.uint8)
            for at in SCALES[name]:
                bits = random.normal(0, 0.02, data.shape[:2]).astype(np.float16).view(np.uint16)
                flat = bits.reshape(-1)
                flat[: len(flat) // 2] = random.choice(EXTREME, len(flat) // 2)
                data[..., at : at + 2] = bits.astype("<u2")[..., None].view(np.uint8)
            data = data.reshape(3, -1)
        else:
            data = random.normal(0, 1, (3, 32)).astype(np.float32)
            data = (
                data.view(np.uint8) if name == "F32" else (data.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
            )
            if name == "F16":
                data = random.integers(0, 0x7C00, (3, 32), dtype=np.uint16)
                data = (data | random.choice([0, 0x8000], data.shape).astype(np.uint16)).view(np.uint8)
        values = np.asarray(dequantize(data, kind), np.float32).reshape(3, -1)
        tensors[name] = (data, kind)
        tensors[f"{name}.values"] = (values, None)
    write(OUT / "blocks.gguf", "blocks", [], tensors)


TEXTS = [
    "",
    " ",
    "Hi",
    " Hi",
    "the cat",
    "The  CAT ",
    "It's 12345 o'clock, I'LL we've",
    "h\u00e9llo na\u00efve \u65e5\u672c",
    "a\u0301 cat \u212b",
    "\n\n\tHi\n \n",
    "1 22 333 4444",
    "\uff13\uff14 \u00bd \u00b2",
    "   the   ",
    "theThe_cat",
    "\r\n the \r\n",
    "\U0001f980\U0001f980",
    "<s>Hi</s>",
    "Hi<|user|>the<|user|> cat",
    "'s 'S 't 'Th",
    "cat.\n\ncat!?\n",
    "\u0e2a\u0e27\u0e31\u0e2a",
    "(the) [cat] {in}",
    "\u00a0the\u00a0cat",
]
MERGES = [
    "t h",
    "th e",
    "\u0120 the",
    "c a",
    "ca t",
    "\u0120 cat",
    "i n",
    "H i",
    "\u0120 Hi",
    "\u0120 c",
    "\u0120 t",
    "1 2",
    "12 3",
    "\u0120 \u0120",
]

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def words(regex):
    split = pre_tokenizers.Split(Regex(regex), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


# Name of the pre-tokenizer and architecture, then the pipeline of the models' own tokenizer.json.
BYTE_LEVEL = {
    ("gpt-2", "gpt2"): (None, byte_level, False, False),
    (None, "gpt2"): (None, byte_level, False, False),
    ("olmo", "gptneox"): (normalizers.NFC, byte_level, False, False),
    ("default", "gptneox"): (normalizers.NFC, byte_level, False, False),
    ("smollm", "llama"): (
        None,
        lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level()]),
        False,
        False,
    ),
    ("command-r", "command-r"): (
        normalizers.NFC,
        lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level()]),
        False,
        False,
    ),
    ("qwen2", "qwen2"): (normalizers.NFC, lambda: words(QWEN2), False, False),
    (None, "qwen3"): (normalizers.NFC, lambda: words(QWEN2), False, False),
    ("dbrx", "olmo2"): (None, lambda: words(LLAMA3), False, False),
    ("llama-bpe", "llama"): (None, lambda: words(LLAMA3), True, True),
    ("tekken", "llama"): (None, lambda: words(TEKKEN), True, True),
}


def alphabet():
    """Returns GPT-2's characters for the 256 bytes, in the order of the bytes."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def byte_level_cases():
    # `ing` is a token that no merges make: only a tokenizer that ignores merges finds it.
    pieces = [
        *alphabet(),
        *("".join(merge.split(" ")) for merge in MERGES),
        "ing",
        "<s>",
        "</s>",
        "<|user|>",
        "[PAD273]",
    ]
    kinds = [1] * (len(pieces) - 4) + [3, 3, 4, 5]
    texts = [*TEXTS, "ing", " the ing"]
    cases = []
    for (pre, arch), (normalizer, split, ignore_merges, begins) in BYTE_LEVEL.items():
        vocab = {piece: id for id, piece in enumerate(pieces)}
        model = models.BPE(vocab=vocab, merges=[tuple(m.split(" ")) for m in MERGES], ignore_merges=ignore_merges)
        tokenizer = tokenizers.Tokenizer(model)
        if normalizer:
            tokenizer.normalizer = normalizer()
        tokenizer.pre_tokenizer = split()
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(["<s>", "</s>"])
        tokenizer.add_tokens([tokenizers.AddedToken("<|user|>", normalized=False)])
        first = [vocab["<s>"]] if begins else []
        ids = [first + tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        cases.append({"pre": pre, "arch": arch, "ids": ids})
    return {"pieces": pieces, "kinds": kinds, "merges": MERGES, "texts": texts, "cases": cases}


def sentencepiece_cases():
    """A tokenizer as Llama's, trained on a few sentences, and the ids that SentencePiece gives."""
    corpus = (
        "the cat sat on the mat. the dog saw the cat in the house, and the cat ran. in the morning it was raining.\n"
        * 4
    )
    corpus += "123 mats and 45 cats were in 6 houses; nothing is naive about the hello of the morning.\n" * 2
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus.splitlines()),
        model_writer=out,
        model_type="bpe",
        vocab_size=360,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=1.0,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
        num_threads=1,
        user_defined_symbols=["<|user|>"],
    )
    cases = []
    for prefix in [True, False]:
        model = sentencepiece_model_pb2.ModelProto()
        processor = sentencepiece.SentencePieceProcessor()
        model.ParseFromString(out.getvalue())
        model.normalizer_spec.add_dummy_prefix = prefix
        processor.LoadFromSerializedProto(model.SerializeToString())
        # SentencePiece does not look for control tokens in a text.
        texts = [text for text in TEXTS if "<" not in text]
        cases.append({"prefix": prefix, "ids": [processor.EncodeAsIds(text) for text in texts]})
    pieces = [piece.piece for piece in model.pieces]
    scores = [piece.score for piece in model.pieces]
    kinds = [piece.type for piece in model.pieces]
    return {"pieces": pieces, "scores": scores, "kinds": kinds, "texts": texts, "cases": cases}


def main():
    OUT.mkdir(exist_ok=True)
    blocks()
    for arch, (fields, tensors) in MODELS.items():
        write(OUT / f"{arch}.gguf", arch, fields, tensors)
    cases = {"byte_level": byte_level_cases(), "sentencepiece": sentencepiece_cases()}
    (OUT / "tokenizers.json").write_text(json.dumps(cases) + "\n")


main()
