"""A few words from the model in training, so that a person sees what a loss cannot say."""

from __future__ import annotations

import torch

from lindos.model import KVCache, Transformer
from lindos.text import Tokenizer


@torch.inference_mode()
def sample_text(
    model: Transformer, tokenizer: Tokenizer, prompt: str, tokens: int, *, seed: int, temperature: float = 0.8
) -> str:
    """`prompt` continued by up to `tokens` tokens, the same for the same weights and seed."""
    ids = tokenizer.encode(prompt, allow_special=True)
    if tokenizer.bos is not None and ids[:1] != [tokenizer.bos]:
        ids = [tokenizer.bos, *ids]
    generator = torch.Generator().manual_seed(seed)
    device = model.embedding.device
    cache = KVCache(model.spec, 1, len(ids) + tokens, dtype=model.embedding.dtype, device=device)
    ends = {tokenizer.eos, tokenizer.special("<|end|>")}
    written: list[int] = []
    feed = torch.tensor([ids], device=device)
    for _ in range(tokens):
        logits_V = model(feed, cache=cache)[0, -1].cpu()
        token = int(torch.multinomial(torch.softmax(logits_V / temperature, -1), 1, generator=generator))
        if token in ends:
            break
        written.append(token)
        feed = torch.tensor([[token]], device=device)
    return tokenizer.decode(written)
