"""Chat templates in the forms of well-known families, and what their tokenizers keep apart."""

from transformers import AutoTokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
QWEN25 = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant."
    "<|im_end|>\\n' }}{% endif %}" + CHATML
)
LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\\n\\n' + (m.content | trim) + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{% endif %}"
)
# As Qwen3 has it: the last reply of a conversation has a thought block, and those before none.
QWEN3 = (
    "{% set seen = namespace(user=-1) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set seen.user = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
    "{% if loop.index0 > seen.user %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% else %}{{ m.content }}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


_ENDS = ["<|im_start|>", "<|im_end|>"]
_HEADERS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
# By family: its template, its special tokens, and the one that ends a reply.
FAMILIES = {
    "ChatML": (CHATML, _ENDS, "<|im_end|>"),
    "Qwen2.5": (QWEN25, _ENDS, "<|im_end|>"),
    "Qwen3": (QWEN3, _ENDS, "<|im_end|>"),
    "Llama-3": (LLAMA3, _HEADERS, "<|eot_id|>"),
}


def of_family(tokenizer, family, folder):
    """Return a tokenizer with the template and the special tokens of a family."""
    template, special, _ = FAMILIES[family]
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    other = AutoTokenizer.from_pretrained(folder)
    other.add_special_tokens({"additional_special_tokens": special})
    return other
