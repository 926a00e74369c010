"""Golden token ids: small tokenizers in every form of their files, and the ids that Hugging Face gives with them.

    pip install -r requirements-tokenizers.txt
    python make_tokenizers.py         # writes tokenizers.json beside itself

Each case is a directory of files. The expected ids are those of `AutoTokenizer.from_pretrained(directory)(text)`. Cases
with `"as": "tokenizers"` test tokenizer.json alone, and have the ids of `tokenizers.Tokenizer.from_file`.
"""

import json
import logging
import os
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import tokenizers  # noqa: E402
import transformers  # noqa: E402

HERE = Path(__file__).parent
END = "<|endoftext|>"
TEXTS = [
    "",
    " ",
    "Hi",
    " Hi",
    "the cat",
    "The  CAT ",
    "<mask>",
    "It is <mask> here",
    "It is  <mask>  here",
    "a<mask>b",
    "<|user|>Hi",
    "Hi <|user|> the<|user|>",
    "<|endoftext|>Hi<|endoftext|>",
    "catcat cat",
    "cat, a cat",
    "h\u00e9llo \u65e5\u672c",
    "\n\tHi\n",
    "<s>Hi</s>",
    "<pad> <unk>",
    "THE <MASK> \ufb01n",
]


def alphabet():
    """Returns GPT-2's characters for the 256 bytes, in the order of the bytes."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


MERGES = ["t h", "th e", "\u0120 the", "c a", "ca t", "\u0120 cat", "i n", "H i", "\u0120 Hi", "\u0120 c", "\u0120 t"]
PIECES = [*alphabet(), *("".join(merge.split(" ")) for merge in MERGES)]
VOCAB = {piece: id for id, piece in enumerate(PIECES)}
FULL = {**VOCAB, END: len(VOCAB)}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def token(content, id=None, **flags):
    base = {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {**({} if id is None else {"id": id}), **base, "special": True, **flags}


def bpe(vocab=FULL, merges=MERGES, **more):
    base = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    base |= {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return {"type": "BPE", **base, **more, "vocab": vocab, "merges": merges}


def whole(extra=(), **more):
    """Returns the content of a tokenizer.json. Without arguments, it is of GPT-2's kind."""
    base = {"version": "1.0", "truncation": None, "padding": None}
    base["added_tokens"] = [token(END, len(VOCAB)), *extra]
    base |= {"normalizer": None, "pre_tokenizer": BYTE_LEVEL, "post_processor": None, "decoder": BYTE_LEVEL}
    return {**base, "model": bpe(), **more}


def old(config=None, specials=None, added=None, vocab=FULL):
    """Returns vocab.json, merges.txt and the settings files."""
    files = {"vocab.json": vocab, "merges.txt": "#version: 0.2\n" + "".join(f"{merge}\n" for merge in MERGES)}
    return files | beside(config, specials, added)


def new(config=None, specials=None, added=None, **more):
    """Returns tokenizer.json and the settings files."""
    return {"tokenizer.json": whole(**more)} | beside(config, specials, added)


SETTINGS = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]


def beside(*contents):
    return {name: content for name, content in zip(SETTINGS, contents, strict=True) if content is not None}


N = len(FULL)
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
GPT2 = {"tokenizer_class": "GPT2Tokenizer"}
USER, MASK, CAT = token("<|user|>"), token("<mask>"), token("cat", special=False, normalized=True)


def decoder(*tokens, first=N):
    return {"added_tokens_decoder": {str(first + at): entry for at, entry in enumerate(tokens)}}


def without_special(entry):
    return {key: value for key, value in entry.items() if key != "special"}


def cases():
    # Both forms have the same settings.
    for form, make in (("old", old), ("new", new)):
        yield f"{form} plain", make()
        for kind, start in (("unnamed", {}), ("gpt2", GPT2), ("gpt2 fast", {"tokenizer_class": "GPT2TokenizerFast"})):
            for prefix in (False, True):
                yield f"{form} {kind} prefix {prefix}", make({**start, "add_prefix_space": prefix})
        for bos in (False, True):
            for eos in (False, True):
                yield f"{form} bos {bos} eos {eos}", make({**GPT2, "add_bos_token": bos, "add_eos_token": eos})
        yield f"{form} bos prefix", make({"add_bos_token": True, "add_prefix_space": True})
        named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
        yield f"{form} named tokens", make({**GPT2, **named})
        yield f"{form} named tokens with bos", make({**named, "add_bos_token": True})
        yield f"{form} named null", make({**GPT2, "bos_token": None, "unk_token": None, "eos_token": None})
        yield f"{form} named typed", make({**GPT2, "mask_token": {"__type": "AddedToken", **MASK, "lstrip": True}})
        yield f"{form} own name", make({**GPT2, "user_token": "<|user|>"})
        yield f"{form} own names", make({**GPT2, "extra_special_tokens": {"user": "<|user|>", "mask": "<mask>"}})
        yield f"{form} map", make(None, {"bos_token": "<s>", "eos_token": "</s>", "pad_token": END})
        yield f"{form} map typed", make(None, {"mask_token": without_special({**MASK, "lstrip": True, "rstrip": True})})
        yield f"{form} map over config", make({"bos_token": "<s>", "add_bos_token": True}, {"bos_token": "<|user|>"})
        yield f"{form} map list", make(None, {"additional_special_tokens": ["<|user|>", "<mask>"]})
        yield f"{form} map beside decoder", make({**GPT2, **decoder(USER)}, {"additional_special_tokens": ["<mask>"]})
        yield f"{form} list", make({**GPT2, "additional_special_tokens": ["<mask>", "<|user|>"]})
        yield f"{form} extra list", make({**GPT2, "extra_special_tokens": ["<|user|>"]})
        yield f"{form} added", make(None, None, {"<|user|>": N})
        yield f"{form} added special", make({"additional_special_tokens": ["<|user|>"]}, None, {"<|user|>": N})
        yield f"{form} added two", make({"mask_token": "<mask>"}, None, {"<mask>": N + 1, "<|user|>": N})
        yield f"{form} added of vocabulary", make(None, None, {"cat": FULL["cat"]})
        yield f"{form} added and map", make(None, {"pad_token": "<pad>"}, {"<|user|>": N})
        yield f"{form} split", make({**GPT2, "split_special_tokens": True, "additional_special_tokens": ["<mask>"]})
        for flag in ("lstrip", "rstrip", "single_word", "normalized"):
            for entry in (MASK, CAT):
                entry = {**entry, flag: not entry[flag]}
                first = N if entry["content"] == "<mask>" else FULL["cat"]
                yield f"{form} {entry['content']} {flag}", make({**GPT2, **decoder(entry, first=first)})
        both = {**MASK, "lstrip": True, "rstrip": True}
        yield f"{form} both strips prefix", make({**GPT2, **decoder(USER, both), "add_prefix_space": True})
        yield f"{form} decoder named", make({**GPT2, **decoder(USER, both), "mask_token": "<mask>"})
        yield f"{form} decoder ids", make({**GPT2, **decoder(USER, first=N + 3)})
        yield f"{form} added ids", make(None, None, {"<|user|>": N + 3})
        yield f"{form} no list", make({**GPT2, "additional_special_tokens": []})
    yield "old without end", old(vocab=VOCAB)
    yield "old without end, user", old({"additional_special_tokens": ["<|user|>"]}, vocab=VOCAB)

    # Each pipeline of a tokenizer.json is tested alone and with two tokenizer classes.
    lower, nfkc = {"type": "Lowercase"}, {"type": "NFKC"}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    prefix = {**BYTE_LEVEL, "add_prefix_space": True}
    template = {
        "type": "TemplateProcessing",
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "single": [{"SpecialToken": {"id": END, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {END: {"id": END, "ids": [len(VOCAB)], "tokens": [END]}},
    }
    fallback = {
        **{f"<0x{byte:02X}>": byte for byte in range(256)},
        "\u2581": 256,
        "H": 257,
        "i": 258,
        "\u2581Hi": 259,
        "\u2581H": 260,
    }
    fallback |= {"<unk>": 261, "c": 262, "a": 263, "t": 264}
    steps = [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    ]
    metaspace = {"normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": None, "decoder": None}
    few = {piece: id for id, piece in enumerate(["H", "i", "\u0120", "<unk>", "Hi", "c", "a", "t", END])}
    few_merges = ["H i"]
    two = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]}
    pipelines = {
        "lower": {"normalizer": lower},
        "nfkc": {"normalizer": nfkc},
        "strip": {"normalizer": strip},
        "prefix": {"pre_tokenizer": prefix},
        "digits": {"pre_tokenizer": two},
        "template": {"post_processor": template},
        "lower, mask": {"normalizer": lower, "extra": [{**MASK, "id": N, "lstrip": True}]},
        "lower, normalized mask": {"normalizer": lower, "extra": [{**MASK, "id": N, "normalized": True}]},
        "strip, mask": {"normalizer": strip, "extra": [{**MASK, "id": N, "lstrip": True, "rstrip": True}]},
        "mask lstrip": {"extra": [{**MASK, "id": N, "lstrip": True}]},
        "mask rstrip prefix": {"extra": [{**MASK, "id": N, "rstrip": True}], "pre_tokenizer": prefix},
        "fallback": {
            "model": bpe(fallback, [["\u2581", "H"], ["\u2581H", "i"]], byte_fallback=True, unk_token="<unk>"),
            "added_tokens": [token("<unk>", 261)],
            **metaspace,
        },
        "unknown": {
            "model": bpe(few, few_merges, unk_token="<unk>"),
            "added_tokens": [token(END, 8), token("<unk>", 3)],
        },
        "ignore merges": {"model": bpe(ignore_merges=True)},
    }
    for name, pipeline in pipelines.items():
        yield f"file {name}", new(**pipeline), "tokenizers"
        yield f"fast {name}", new(FAST, **pipeline)
        yield f"gpt2 {name}", new(GPT2, **pipeline)
    yield "fast user", new({**FAST, "additional_special_tokens": ["<|user|>"], "bos_token": "<s>"})
    yield "fast decoder", new({**FAST, **decoder(USER, {**MASK, "lstrip": True})})
    yield "fast prefix True", new({**FAST, "add_prefix_space": True})
    yield "fast prefix False", new({**FAST, "add_prefix_space": False}, pre_tokenizer=prefix)
    yield "fast bos", new({**FAST, "add_bos_token": True, "bos_token": END})
    yield "backend", new({"tokenizer_class": "TokenizersBackend", **decoder(USER)}, normalizer=lower)
    yield "old fast", old(FAST)
    yield "old other class", old({"tokenizer_class": "CodeGenTokenizer"})
    yield "new other class", new({"tokenizer_class": "BertTokenizer"})
    yield "file token that the decoder lacks", new({**GPT2, **decoder(MASK)}, extra=[{**USER, "id": N}])
    yield "prefix by config", new({"add_prefix_space": False}, pre_tokenizer=prefix)
    yield "prefix of gpt2", new({**GPT2, "add_prefix_space": True}, pre_tokenizer=prefix)


def ids(folder, like):
    """Returns the ids of all texts, with and without special tokens, or the error."""
    try:
        if like == "tokenizers":
            one = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            return [one.encode(text).ids for text in TEXTS], [
                one.encode(text, add_special_tokens=False).ids for text in TEXTS
            ]
        one = transformers.AutoTokenizer.from_pretrained(folder)
        return [one(text)["input_ids"] for text in TEXTS], [
            one(text, add_special_tokens=False)["input_ids"] for text in TEXTS
        ]
    except Exception as error:  # Hugging Face refuses some cases, which have no ids.
        return f"{type(error).__name__}: {error}".splitlines()[0][:100]


def main():
    logging.disable(logging.CRITICAL)
    transformers.logging.set_verbosity_error()
    written, sets = [], []

    def index(ids):
        """Returns the index of these ids in `sets`: ids that many cases share are written once."""
        if ids not in sets:
            sets.append(ids)
        return sets.index(ids)

    for name, files, *like in cases():
        like = like[0] if like else "transformers"
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "config.json").write_text('{"model_type": "gpt2"}')
            for file, content in files.items():
                (folder / file).write_text(
                    content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
                )
            found = ids(folder, like)
        # The vocabularies are written once.
        if "tokenizer.json" in files:
            model = files["tokenizer.json"]["model"]
            if model["vocab"] is FULL:
                files["tokenizer.json"] = {
                    **files["tokenizer.json"],
                    "model": {**model, "vocab": "full", "merges": "merges"},
                }
        else:
            files = {**files, "vocab.json": "full" if files["vocab.json"] is FULL else "base", "merges.txt": "merges"}
        # Settings are written as text, because ids depend on the order of their keys.
        files = {file: json.dumps(content) if file in SETTINGS else content for file, content in files.items()}
        case = {"name": name, "as": like, "files": files}
        if isinstance(found, str):
            case["error"] = found
        else:
            prompt, plain = found
            case |= {"prompt": index(prompt), "plain": index(plain)}
        written.append(case)
    head = {
        "command": "python tests/data/make_tokenizers.py",
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }
    head |= {"pieces": PIECES, "merges": MERGES, "texts": TEXTS, "ids": sets}
    lines = ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in written)
    start = json.dumps(head, separators=(",", ":"))[:-1]
    (HERE / "tokenizers.json").write_text(f'{start},"cases":[\n{lines}\n]}}\n')
    print(f"{len(written)} cases, {sum('error' in case for case in written)} refused")


if __name__ == "__main__":
    main()
