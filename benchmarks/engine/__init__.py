"""The engine beside llama.cpp and transformers: decode, prefill, a memory limit, sweeps and loading, held to targets.

Light, because contenders in other environments import it on their way in. How to run it: `docs/benchmarks.md`.
"""
