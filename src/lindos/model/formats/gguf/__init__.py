"""GGUF, the format of llama.cpp: one file (or several numbered ones) of weights, description and tokenizer.

Read: architectures `grok`, `llama` with experts (Mixtral) and `qwen3moe`, in F32, F16, BF16, Q8_0 and Q4_0. Written:
the same. The whole numbers of Q8_0 and Q4_0 and of Lindos's int8 and int4 turn into each other without loss. Format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""
