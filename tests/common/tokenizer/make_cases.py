"""Trains a small tokenizer of each kind with the tokenizers package and writes,
for each, NAME.json (the tokenizer) and NAME.jsonl (texts with their ids).

Usage: make_cases.py FOLDER
"""
import json
import pathlib
import random
import sys
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                        pre_tokenizers, processors, trainers)

CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
OTHER = r"\p{Lu}?\p{Ll}+|\p{Lu}+|\p{N}{1,2}|\s+(?=\S)|\s+|[^\s\p{L}\p{N}]"

PROSE = [
    "It's what they've said: we'll see, I'd go. DON'T! She'S 'tis 'Twas I'M",
    "Der Bürgermeister prüft 1234567 Größen; dafür brauchen wir 3,14 und ½ ².",
    "Съешь же ещё этих мягких французских булок, да выпей чаю в 12:30.",
    "東京都は日本の首都です。人口は約1400万人、面積は2194km²。ありがとう！",
    "हिन्दी में लिखा हुआ पाठ १२३४ और कुछ संयुक्ताक्षर क्ष त्र ज्ञ।",
    "مرحبا بالعالم، هذا نص عربي ٤٥٦ مع أرقام وتَشْكِيل.",
    "emoji 👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️‍🔥 and text ☺︎ … “quotes” ‘s ’re – —",
    "combining e\u0301 a\u0308\u0304 o\u031b\u0323 z\u0335 \u0301alone \u200d\u200c",
    "def f(x: int) -> str:\n\treturn f\"{x!r:>10}\"  # comment\r\n\r\n\r\n    pass\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * 0x1F3e; } // done!!\n\n",
    "   leading  and   trailing   \n\n \t\n  x \u00a0\u2003y\u3000z \u2028w\u2029\x0b\x0c\x85v",
    "\\frac{a}{b} $$x^2$$ <html attr='v'>&amp;</html> http://a.b/c?d=e&f=g#h",
    "|- ( ph -> ( ps <-> ch ) ) $= wph wps wch syl5bb $.",
    "ΑΒΓ αβγ 'ſ 'ſtrange 'S 'LL 'Ll 'rE 'VE 'D 'x '' ''' 's's 'll'll",
    "\u0000\u0001 controls \u007f\u0080\u009f \ufeff bom \ufffd \U0010ffff \ue000",
    "Ⅷ ⅷ ① ㊿ 𝟘𝟙𝟚 ٣ ४ ௧௨௩ 〇 零 ½⅓ 1½ x² 10⁻³ ₁₂",
    "new letters \u1c89\u1c8a \ua7cb \U00010d40\U00010d4a \U00011de0 \u180e \u180ex",
    "", " ", "  ", "\n", "\r\n", "\r", " \n", "\n ", "a", " a", "a ", "'", " '",
    "1", " 1", "12", "1234", "\u3000", "\u3000a", " \u00a0a", "é", " é", "…",
]
SPECIAL = [
    "<|end|>", "a<|end|>b", "a <|end|> b", "<|end|><|end|>", "<|end|", "<<|end|>>",
    "x<|left|>y", "x  <|left|>  y", " \n<|left|>\n<|left|>", "x<|right|>y",
    "x  <|right|>  y", "<|right|>  <|end|>", "<|right|>  <|left|>", "x wordy y",
    "word", " word ", "sword", "word1", "word_", "(word)", "wordéword", "word word",
    "\u200dword", "word\u0301", "<|end|>word", "<|endless|>", "<|end|>less|>",
    "norm", "abnormal norm", "<|norm", "Hello<|end|>\n\nnorm<|left|>word",
]


def random_texts(count, seed):
    rng = random.Random(seed)
    pieces = ["'s", "'Re", "'ll", " ", "  ", "\n", "\r\n", "\t", "a", "B", "word",
              "the", "é", "ß", "日", "本", "ж", "1", "42", "½", "٣", "!", "...",
              "\u00a0", "\u3000", "\u0301", "👍🏽", "-", "_", "<|end|>", "<|", "|>",
              "'", '"', "/", "\\", "norm", "\u200d", "ſ", "\u2028", "\x85", "ab cd"]
    alphabet = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = []
    for i in range(count):
        if i % 3 == 0:
            texts.append("".join(rng.choices(alphabet, k=rng.randrange(40))))
        else:
            texts.append("".join(rng.choices(pieces, k=rng.randrange(30))))
    return texts


def long_texts():
    rng = random.Random(7)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    return ["".join(rng.choices(letters, k=5000)), "a" * 3000, "日本" * 1000,
            " " * 777, "\n" * 500 + "x", "=" * 1000, "9" * 1000, "\t" * 99 + "x"]


def known_to_pcre(text):
    """PCRE2 may know fewer code points than the package, and takes U+180E for
    whitespace: patterns without a hand-written scanner are compared without."""
    return "".join("?" if c == "\u180e" or unicodedata.category(c) == "Cn" else c
                   for c in text)


def byte_level(regex, prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def split(pattern, behavior, invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def kinds():
    sequence = pre_tokenizers.Sequence
    yield "gpt2", byte_level(True)
    yield "gpt2_prefix", byte_level(True, prefix=True)
    yield "smollm", sequence([pre_tokenizers.Digits(True), byte_level(True)])
    yield "digit_runs", sequence([pre_tokenizers.Digits(False),
                                  byte_level(True, prefix=True)])
    yield "cl100k", sequence([split(CL100K, "isolated"), byte_level(False)])
    yield "dolma2", sequence([split(CL100K, "removed", True),
                              byte_level(False)])
    yield "qwen2", sequence([split(QWEN2, "isolated"), byte_level(False)])
    for behavior in ("isolated", "removed", "contiguous",
                     "merged_with_previous", "merged_with_next"):
        for invert in (False, True):
            yield f"other_{behavior}_{invert}", sequence(
                [split(OTHER, behavior, invert), byte_level(False)])
    yield "string", sequence([pre_tokenizers.Split("a.b", "isolated"),
                              pre_tokenizers.Split(" ", "merged_with_next"),
                              byte_level(True)])
    yield "no_split", byte_level(False)


def main():
    folder = pathlib.Path(sys.argv[1])
    here = pathlib.Path(__file__).resolve()
    source = here.read_text(encoding="utf-8")
    for name, pre_tokenizer in kinds():
        tokenizer = Tokenizer(models.BPE(ignore_merges=name == "qwen2"))
        tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=900, show_progress=False, min_frequency=2,
            special_tokens=["<|end|>", "<|begin|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        tokenizer.train_from_iterator(PROSE * 3 + source.splitlines(), trainer)
        tokenizer.add_special_tokens([AddedToken("<|left|>", lstrip=True),
                                      AddedToken("<|right|>", rstrip=True)])
        tokenizer.add_tokens([
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("norm", normalized=True),
            AddedToken("<|endless|>", normalized=False)])
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin|> $A <|end|>",
                special_tokens=[("<|begin|>", 1), ("<|end|>", 0)])])
        tokenizer.save(str(folder / f"{name}.json"))
        texts = PROSE + SPECIAL + ["".join(PROSE), source]
        texts += random_texts(400, seed=name) + long_texts()
        if name.startswith("other"):
            texts = [known_to_pcre(text) for text in texts]
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as out:
            for text in texts:
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                tokenizer.encode_special_tokens = True
                as_text = tokenizer.encode(text, add_special_tokens=False).ids
                tokenizer.encode_special_tokens = False
                # Cut somewhere: characters are cut in two.
                part = ids[len(ids) // 3:len(ids) * 2 // 3]
                out.write(json.dumps({
                    "text": text,
                    "ids": ids,
                    "as_text": as_text,
                    "around": tokenizer.encode(text).ids,
                    "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                    "skipped": tokenizer.decode(ids),
                    "part": part,
                    "part_decoded": tokenizer.decode(
                        part, skip_special_tokens=False),
                }) + "\n")


if __name__ == "__main__":
    main()
