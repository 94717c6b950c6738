"""A tokenizer from scratch for small models, and the plain chat template for models that have none.

Byte-level BPE through the `tokenizers` library: digits stand alone, a word takes its leading comma and space along, and the
thought and answer tags are single tokens. Any text round-trips. Not for: rendering prompts (prompts.py does that).
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from burnish.errors import ModelError

END, PAD, USER, ASSISTANT, SYSTEM = "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

SCRATCH_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PLAIN_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'user' %}User: {{ message['content'] }}\n"
    "{% else %}Assistant: {{ message['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For base models whose tokenizer ships no chat template (the wording of R1-Zero's template, DeepSeek-AI 2025)."""


def plain_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """PLAIN_TEMPLATE, with the beginning-of-text token in front where the tokenizer puts one in front of any text (Llama, Gemma)."""
    first = tokenizer("a").input_ids[:1]
    begins = tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id]
    return "{{ bos_token }}" + PLAIN_TEMPLATE if begins else PLAIN_TEMPLATE


_PIECES = r",? ?[A-Za-z]+| ?\d| ?[^\sA-Za-z\d]+|\s+"


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer alone of a model folder or hub name, to count tokens with. Raises ModelError where there is none."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"The tokenizer of {name} cannot be loaded: {reason}") from error
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocab_size: int, context: int) -> PreTrainedTokenizerFast:
    """Train on `texts`; the result holds at most `vocab_size` tokens (at least 256 bytes + 9 named ones) and a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, END, USER, ASSISTANT, SYSTEM]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(TAGS),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = SCRATCH_TEMPLATE
    return fast
