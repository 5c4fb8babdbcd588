"""Chat templates in the forms of well-known families, and what their tokenizers keep apart."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

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

# As Qwen3 and SmolLM3 ask for a reply where thinking is off, and as R1's distillations always do.
THINKING = CHATML.replace(
    "assistant\\n' }}{% endif %}",
    "assistant\\n' }}{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}",
)
REASONING = CHATML.replace("assistant\\n' }}{% endif %}", "assistant\\n<think>\\n' }}{% endif %}")
# As Llama 3.2 and Granite do: today's date in the system text.
DATED = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
    "{% endif %}{{ '<|im_start|>system\\nToday is ' + date_string + '.<|im_end|>\\n' }}" + CHATML
)
# As Gemma has it: no system role.
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + CHATML
)
# As Mistral 0.3 and Llama 2 have it: what a reply begins with is not in what asks for it.
MISTRAL = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set told = messages[0].content ~ ' ' %}"
    "{% set messages = messages[1:] %}{% else %}{% set told = '' %}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + (told if loop.first else '') + "
    "m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def sentencepiece(kind, template):
    """Return a tokenizer whose words carry the space before them, as Llama 2's and its heirs'.

    `kind` says where a text gets one that it has not: "prepend" and "always" do at each beginning,
    "first" at the very first.
    """
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    spaces = decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()
    made.decoder = decoders.Sequence([*spaces, decoders.Strip(" ", 1, 0)])
    if kind == "prepend":
        begun = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        made.normalizer = normalizers.Sequence(begun)
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    known = "Thought: collect wood\nAction: move_left noop do sleep place_table facing grass"
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special + [f"<0x{byte:02X}>" for byte in range(256)],
        show_progress=False,
    )
    made.train_from_iterator(known.replace("\n", " \n ").split(" ") * 30, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=special[3:],
    )
    fast.chat_template = template
    return fast


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
