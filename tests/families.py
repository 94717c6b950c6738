"""The families of models people bring, at small width with random weights: their configurations, tokenizers and chat templates.

A folder made here is one as the hub has it: config, safetensors, generation settings, a tokenizer with the family's own named tokens.
`benchmarks/families.py` prints the table of docs/models.md.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, processors
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from burnish.engine.choice import engine_for
from burnish.policy.fused import Fused
from burnish.policy.model import Policy
from burnish.policy.tokenizer import train_tokenizer

WIDTHS = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.1,
}
WINDOW = 8
MIXED = ["sliding_attention", "full_attention"]


@dataclass(frozen=True)
class Template:
    """A chat template in the shape real ones have, and the named tokens it is made of.

    named       special tokens
    plain       tokens that are one id but not special (Qwen3's <think>)
    end         what ends a turn of the assistant, as it stands in the text; "" where only the end-of-sequence token does
    system      whether it takes a system message
    begins      whether the tokenizer puts bos in front of any text
    """

    text: str | None
    eos: str
    bos: str | None = None
    named: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    end: str = ""
    system: bool = True
    begins: bool = False


CHATML = Template(
    "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful"
    " assistant.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}",
    "<|im_end|>",
    named=("<|endoftext|>", "<|im_start|>"),
    end="<|im_end|>",
)
_QWEN3 = (
    "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}"
    "{%- set ns = namespace(searching=true, last_query_index=messages|length - 1) %}"
    "{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
    "{%- if ns.searching and message.role == 'user' %}{%- set ns.searching = false %}{%- set ns.last_query_index = index %}{%- endif %}"
    "{%- endfor %}"
    "{%- for message in messages %}{%- set content = message.content %}"
    "{%- if (message.role == 'user') or (message.role == 'system' and not loop.first) %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}"
    "{%- elif message.role == 'assistant' %}{%- set reasoning_content = '' %}"
    "{%- if '</think>' in content %}"
    "{%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}"
    "{{- '<|im_start|>assistant\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}"
    "{%- else %}{{- '<|im_start|>assistant\\n' + content }}{%- endif %}{{- '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
)
QWEN3 = Template(
    _QWEN3 + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}",
    "<|im_end|>",
    named=("<|endoftext|>", "<|im_start|>"),
    end="<|im_end|>",
)
QWEN3_THINKING = Template(
    _QWEN3 + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}",
    "<|im_end|>",
    named=("<|endoftext|>", "<|im_start|>"),
    end="<|im_end|>",
)
R1 = Template(
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% set ns = namespace(system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}"
    "{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}"
    "{%- for message in messages %}{%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{%- endif %}"
    "{%- if message['role'] == 'assistant' %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{%- endif %}{%- endfor -%}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}",
    "<｜end▁of▁sentence｜>",
    "<｜begin▁of▁sentence｜>",
    plain=("<｜User｜>", "<｜Assistant｜>"),
    end="<｜end▁of▁sentence｜>",
    begins=True,
)
LLAMA3 = Template(
    "{{- bos_token }}\n"
    "{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n"
    '        {%- set date_string = strftime_now("%d %b %Y") %}\n'
    '    {%- else %}\n        {%- set date_string = "26 Jul 2024" %}\n    {%- endif %}\n{%- endif %}\n'
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system_message = '' %}{%- endif %}"
    '{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}{{- "Cutting Knowledge Date: December 2023\\n" }}'
    '{{- "Today Date: " + date_string + "\\n\\n" }}{{- system_message }}{{- "<|eot_id|>" }}'
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}",
    "<|eot_id|>",
    "<|begin_of_text|>",
    named=("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    end="<|eot_id|>",
    begins=True,
)
GEMMA3 = Template(
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}"
    "{%- set loop_messages = messages[1:] -%}{%- else -%}{%- set first_user_prefix = '' -%}{%- set loop_messages = messages -%}"
    "{%- endif -%}{%- for message in loop_messages -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif -%}"
    "{%- if (message['role'] == 'assistant') -%}{%- set role = 'model' -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}"
    "{{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else '') }}{{ message['content'] | trim }}"
    "{{ '<end_of_turn>\\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}",
    "<eos>",
    "<bos>",
    named=("<start_of_turn>", "<end_of_turn>"),
    end="<end_of_turn>",
    begins=True,
)
GEMMA2 = Template(
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}",
    "<eos>",
    "<bos>",
    named=("<start_of_turn>", "<end_of_turn>"),
    end="<end_of_turn>",
    system=False,
    begins=True,
)
OLMO2 = Template(
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\\n' + message['content'] + '\\n' }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'assistant' %}"
    "{% if not loop.last %}{{ '<|assistant|>\\n'  + message['content'] + eos_token + '\\n' }}"
    "{% else %}{{ '<|assistant|>\\n'  + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}",
    "<|endoftext|>",
    "<|endoftext|>",
    end="<|endoftext|>",
)
SMOLLM3 = Template(
    "{# ───── defaults ───── #}\n{%- if enable_thinking is not defined -%}\n{%- set enable_thinking = true -%}\n{%- endif -%}\n"
    '{%- if enable_thinking -%}\n  {%- set reasoning_mode = "/think" -%}\n{%- else -%}\n  {%- set reasoning_mode = "/no_think" -%}\n'
    '{%- endif -%}\n{{- "<|im_start|>system\\n" -}}\n'
    '{%- if messages[0].role == "system" -%}\n  {%- set system_message = messages[0].content -%}\n'
    '  {%- if "/no_think" in system_message -%}\n    {%- set reasoning_mode = "/no_think" -%}\n'
    '  {%- elif "/think" in system_message -%}\n    {%- set reasoning_mode = "/think" -%}\n  {%- endif -%}\n'
    '  {%- set custom_instructions = system_message.replace("/no_think", "").replace("/think", "").rstrip() -%}\n{%- endif -%}\n'
    '{{- "## Metadata\\n\\n" -}}\n{{- "Knowledge Cutoff Date: June 2025\\n" -}}\n'
    '{%- set today = strftime_now("%d %B %Y") -%}\n{{- "Today Date: " ~ today ~ "\\n" -}}\n'
    '{{- "Reasoning Mode: " + reasoning_mode + "\\n\\n" -}}\n{{- "## Custom Instructions\\n\\n" -}}\n'
    '{%- if custom_instructions -%}\n{{- custom_instructions + "\\n\\n" -}}\n{%- else -%}\n'
    '{{- "You are a helpful AI assistant named SmolLM, trained by Hugging Face.\\n\\n" -}}\n{%- endif -%}\n{{- "<|im_end|>\\n" -}}\n'
    '{%- for message in messages -%}\n  {%- if message.role == "user" -%}\n'
    '    {{ "<|im_start|>user\\n" + message.content + "<|im_end|>\\n" }}\n  {%- elif message.role == "assistant" -%}\n'
    "    {% generation %}\n"
    '    {%- if reasoning_mode == "/think" -%}\n'
    '      {{ "<|im_start|>assistant\\n" + message.content.lstrip("\\n") + "<|im_end|>\\n" }}\n    {%- else -%}\n'
    '      {{ "<|im_start|>assistant\\n<think>\\n\\n</think>\\n" + message.content.lstrip("\\n") + "<|im_end|>\\n" }}\n    {%- endif -%}\n'
    "    {% endgeneration %}\n  {%- endif -%}\n{%- endfor -%}\n"
    '{%- if add_generation_prompt -%}\n  {%- if reasoning_mode == "/think" -%}\n    {{ "<|im_start|>assistant\\n" }}\n  {%- else -%}\n'
    '    {{ "<|im_start|>assistant\\n<think>\\n\\n</think>\\n" }}\n  {%- endif -%}\n{%- endif -%}',
    "<|im_end|>",
    named=("<|end_of_text|>", "<|im_start|>"),
    end="<|im_end|>",
)
MISTRAL = Template(
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}"
    "{%- else %}{%- set loop_messages = messages %}{%- endif %}{{- bos_token }}{%- for message in loop_messages %}"
    "{%- if message['role'] == 'user' %}{%- if loop.last and system_message is defined %}"
    "{{- '[INST] ' + system_message + '\\n\\n' + message['content'] + '[/INST]' }}{%- else %}"
    "{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}{%- else %}{{- ' ' + message['content'] + eos_token}}{%- endif %}"
    "{%- endfor %}",
    "</s>",
    "<s>",
    named=("[INST]", "[/INST]"),
    end="</s>",
    begins=True,
)
PHI = Template(
    "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
    "{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}"
    "{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
    "<|endoftext|>",
    end="<|end|>",
)
NONE = Template(None, "<|endoftext|>", named=())
BASE_WITH_BOS = Template(None, "<eos>", "<bos>", begins=True)
TEMPLATES = {
    "ChatML": CHATML,
    "Qwen3": QWEN3,
    "Qwen3 thinking": QWEN3_THINKING,
    "DeepSeek-R1": R1,
    "Llama 3": LLAMA3,
    "Gemma 3": GEMMA3,
    "Gemma 2": GEMMA2,
    "OLMo 2": OLMO2,
    "SmolLM3": SMOLLM3,
    "Mistral": MISTRAL,
    "Phi": PHI,
    "none": NONE,
    "none, with bos": BASE_WITH_BOS,
}


@dataclass(frozen=True)
class Family:
    """A family: its model_type, what its configurations set, its template."""

    model_type: str
    template: Template
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> dict[str, Any]:
        return {**WIDTHS, **self.config}


_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_MAMBA2 = {"mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_chunk_size": 8}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_LLAMA_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
FAMILIES: dict[str, Family] = {
    "Llama 3": Family("llama", LLAMA3, {"head_dim": 32, "rope_scaling": _LLAMA_ROPE, "tie_word_embeddings": False}),
    "Llama 3.2, tied": Family(
        "llama", LLAMA3, {"head_dim": 32, "rope_scaling": _LLAMA_ROPE, "tie_word_embeddings": True}
    ),
    "Qwen2.5": Family(
        "qwen2", CHATML, {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}
    ),
    "Qwen2.5, sliding": Family(
        "qwen2",
        CHATML,
        {
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "tie_word_embeddings": False,
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "max_window_layers": 1,
        },
    ),
    "Qwen3": Family("qwen3", QWEN3, {"head_dim": 32, "tie_word_embeddings": True}),
    "Qwen3, thinking": Family("qwen3", QWEN3_THINKING, {"head_dim": 32, "tie_word_embeddings": False}),
    "Qwen3, mixture of experts": Family("qwen3_moe", QWEN3, {"head_dim": 32, **_EXPERTS}),
    "DeepSeek-R1 distilled": Family("qwen2", R1, {"num_attention_heads": 2, "num_key_value_heads": 1}),
    "Gemma 2": Family(
        "gemma2",
        GEMMA2,
        {
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": WINDOW,
            "layer_types": MIXED,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
    ),
    "Gemma 3": Family(
        "gemma3_text",
        GEMMA3,
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW, "layer_types": MIXED},
    ),
    "OLMo 2": Family("olmo2", OLMO2, {"num_key_value_heads": 4, "tie_word_embeddings": False}),
    "OLMo 3": Family("olmo3", CHATML, {"sliding_window": WINDOW, "layer_types": MIXED, "tie_word_embeddings": False}),
    "SmolLM3": Family("smollm3", SMOLLM3, {"no_rope_layers": [1, 0], "tie_word_embeddings": True}),
    "Mistral": Family("mistral", MISTRAL, {"head_dim": 32, "sliding_window": WINDOW, "tie_word_embeddings": False}),
    "Mixtral": Family("mixtral", MISTRAL, {"num_local_experts": 4, "tie_word_embeddings": False}),
    "Phi 2": Family("phi", NONE, {"partial_rotary_factor": 0.5}),
    "Phi 3 and 4": Family(
        "phi3", PHI, {"sliding_window": WINDOW, "partial_rotary_factor": 0.75, "tie_word_embeddings": True}
    ),
    "Granite": Family(
        "granite", NONE, {"logits_scaling": 4.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5}
    ),
    "gpt-oss": Family(
        "gpt_oss", NONE, {"head_dim": 16, "sliding_window": WINDOW, "layer_types": MIXED, "num_local_experts": 4}
    ),
    "DeepSeek V3": Family(
        "deepseek_v3",
        R1,
        {
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "moe_intermediate_size": 32,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "first_k_dense_replace": 1,
            "num_key_value_heads": 4,
        },
    ),
    "Qwen3-Next": Family(
        "qwen3_next", QWEN3, {"head_dim": 16, **_EXPERTS, "shared_expert_intermediate_size": 32, **_LINEAR}
    ),
    "Qwen3.5": Family("qwen3_5_text", QWEN3, {"head_dim": 16, **_LINEAR}),
    "Falcon-H1": Family("falcon_h1", CHATML, {**_MAMBA2, "mamba_d_ssm": 128, "lm_head_multiplier": 0.5}),
    "Bamba": Family("bamba", NONE, {**_MAMBA2, "attn_layer_indices": [1]}),
    "Granite 4": Family(
        "granitemoehybrid",
        NONE,
        {
            **_MAMBA2,
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "shared_intermediate_size": 32,
            "mamba_expand": 2,
        },
    ),
    "Jamba": Family(
        "jamba",
        BASE_WITH_BOS,
        {
            "mamba_d_state": 8,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 2,
            "expert_layer_period": 2,
            "use_mamba_kernels": False,
        },
    ),
    "LFM2": Family("lfm2", CHATML, {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}),
    "OLMo hybrid": Family("olmo_hybrid", CHATML, _LINEAR),
    "Mamba": Family("mamba", NONE, {"state_size": 8}),
    "Mamba 2": Family(
        "mamba2", NONE, {"state_size": 8, "num_heads": 8, "head_dim": 16, "n_groups": 2, "chunk_size": 8}
    ),
    "RecurrentGemma": Family(
        "recurrent_gemma",
        GEMMA2,
        {"lru_width": 64, "attention_window_size": WINDOW, "block_types": ["recurrent", "attention"]},
    ),
    "RWKV": Family("rwkv", NONE, {"attention_hidden_size": 64, "context_length": 256}),
}


@cache
def words(template: Template) -> PreTrainedTokenizerFast:
    """A trained byte-level tokenizer with the template's named tokens, saved with its template as the hub's are."""
    trained = train_tokenizer(["Add 3 and 5. The answer is 8. system user assistant model"] * 4, 300, 1024)
    backend = copy.deepcopy(trained.backend_tokenizer)
    backend.add_special_tokens(
        [
            AddedToken(one, special=True, normalized=False)
            for one in dict.fromkeys((template.eos, template.bos, template.end))
            if one
        ]
    )
    backend.add_tokens([AddedToken(one, special=False, normalized=False) for one in template.plain])
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=template.eos,
        bos_token=template.bos,
        pad_token="<|pad|>",
        additional_special_tokens=[one for one in template.named if one not in (template.eos, template.bos)],
        clean_up_tokenization_spaces=False,
    )
    if template.begins:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{template.bos} $A", special_tokens=[(template.bos, made.bos_token_id)]
        )
    made.chat_template = template.text
    return made


def write(name: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A model folder of the family."""
    family = FAMILIES[name]
    tokenizer = words(family.template)
    config = AutoConfig.for_model(
        family.model_type,
        **{**family.shape, **changes},
        vocab_size=-(-len(tokenizer) // 64) * 64,  # padded, as the hub's are
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    module = AutoModelForCausalLM.from_config(config)
    # What the hub's folders ask for when they are sampled; none of it may reach a rollout.
    module.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_k=2, top_p=0.5, repetition_penalty=3.0, eos_token_id=tokenizer.eos_token_id
    )
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def row(name: str, policy: Policy) -> str:
    """The family's row of the table; the policy in bfloat16."""
    engine = engine_for(policy)
    path = "compiled kernels" if Fused.serves(policy) else "module"
    served = "embedded" if type(engine).__name__ == "EmbeddedEngine" else "transformers"
    layout = "prompts shared" if policy.lays_out else "one row a sequence"
    return f"| {name} | `{FAMILIES[name].model_type}` | {served} | {path} | {layout} |"


HEAD = (
    "| family | model_type | sampled by | trained and sampled through | rows in a micro-batch |\n|---|---|---|---|---|"
)
