"""A small Llama that ends whatever it reads with a judgement: `It goes well. <score>7</score>`, or 3 as often. Each token depends on the one before alone.

Usage: speaking-model.py FOLDER
"""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

alphabet = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
backend = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
backend.add_tokens(["<assistant>", "It goes well. ", "<score>", "</score>"])
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
tokenizer.chat_template = (
    "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
tokenizer.save_pretrained(sys.argv[1])

size = len(tokenizer)
torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=size,
        hidden_size=-(-size // 4) * 4,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
)
number = {
    token: tokenizer.convert_tokens_to_ids(token)
    for token in ["<eos>", "<assistant>", "It goes well. ", "<score>", "3", "7", "</score>"]
}
follows = {
    "<assistant>": ["It goes well. "],
    "It goes well. ": ["<score>"],
    "<score>": ["3", "7"],
    "3": ["</score>"],
    "7": ["</score>"],
    "</score>": ["<eos>"],
}
with torch.no_grad():
    model.model.embed_tokens.weight.zero_()
    model.model.embed_tokens.weight[:, :size] = torch.eye(size)
    model.model.layers[0].self_attn.o_proj.weight.zero_()
    model.model.layers[0].mlp.down_proj.weight.zero_()
    model.lm_head.weight.zero_()
    for token, nexts in follows.items():
        for following in nexts:
            model.lm_head.weight[number[following], number[token]] = 2.0
model.generation_config.eos_token_id = 0
model.generation_config.pad_token_id = 0
model.save_pretrained(sys.argv[1])
