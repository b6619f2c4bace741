"""The models of the catalogue hold the counts their makers publish."""

from __future__ import annotations

import json

import pytest

from lindos.specs import ModelSpec, catalog_models, load_model_spec

EXACT = {
    # By the header of the published weights, or by the maker's own table, to the last parameter.
    "grok-1": 315_684_820_992,  # github.com/xai-org/grok-1, ckpt-0
    "grok-2": 269_515_497_472,  # huggingface.co/xai-org/grok-2
    "mixtral-8x7b": 46_702_792_704,  # huggingface.co/mistralai/Mixtral-8x7B-v0.1
    "mixtral-8x22b": 140_620_634_112,  # huggingface.co/mistralai/Mixtral-8x22B-v0.1; 9,437,184 more with 32,768 words
    "qwen3-30b-a3b": 30_532_122_624,  # huggingface.co/Qwen/Qwen3-30B-A3B
    "qwen3-235b-a22b": 235_093_634_560,  # huggingface.co/Qwen/Qwen3-235B-A22B
    "qwen2.5-72b": 72_706_203_648,  # huggingface.co/Qwen/Qwen2.5-72B
    "deepseek-v2": 235_741_434_880,  # huggingface.co/deepseek-ai/DeepSeek-V2
    "deepseek-v3": 671_026_419_200,  # huggingface.co/deepseek-ai/DeepSeek-V3, its further-token layer apart
    "kimi-k2": 1_026_408_232_448,  # huggingface.co/moonshotai/Kimi-K2-Base
    "gpt-oss-120b": 116_829_156_672,  # huggingface.co/openai/gpt-oss-120b
    "gpt-oss-20b": 20_914_757_184,  # huggingface.co/openai/gpt-oss-20b
    "llama-1-7b": 6_738_415_616,  # huggingface.co/huggyllama/llama-7b, and so on
    "llama-1-13b": 13_015_864_320,
    "llama-1-33b": 32_528_943_616,
    "llama-1-65b": 65_285_660_672,
    "llama-2-7b": 6_738_415_616,  # huggingface.co/meta-llama/Llama-2-7b-hf, and so on
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,  # huggingface.co/meta-llama/Llama-3.1-8B, and so on
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "bloom-176b": 176_247_271_424,  # huggingface.co/bigscience/bloom
    "falcon-180b": 179_522_565_120,  # huggingface.co/tiiuae/falcon-180B
    "falcon-40b": 83_671_941_120 // 2 - 65_024 * 8192,  # the release's bytes; it stores its tied head once more
    "gpt-neox-20b": 20_554_567_680,  # huggingface.co/EleutherAI/gpt-neox-20b
    # github.com/mosaicml/llm-foundry, scripts/train/benchmarking/README.md, NumParams at 2,048 tokens
    "mpt-125m": 125_311_488,
    "mpt-350m": 355_985_408,
    "mpt-760m": 760_470_528,
    "mpt-1b": 1_315_950_592,
    "mpt-3b": 2_651_837_440,
    "mpt-7b": 6_658_859_008,
    "mpt-13b": 12_853_954_560,
    "mpt-30b": 29_975_214_080,
    "mpt-70b": 64_862_437_376,
}

ROUNDED = {
    # (billions, half a unit of the last digit that is published)
    "gpt3-175b": (174.6, 0.05),  # arxiv.org/abs/2005.14165, table D.1
    "nemotron-4-340b": (331.6 + 9.4, 0.1),  # arxiv.org/abs/2406.11704, table 1: without and with embeddings
    "nemotron-4-15b": (12.5 + 3.2, 0.1),  # arxiv.org/abs/2402.16819, section 2
    "palm-540b": (540.35, 0.01),  # arxiv.org/abs/2204.02311, table 1
    "mt-nlg-530b": (530, 0.5),  # arxiv.org/abs/2201.11990
    "gpt-1.7b": (1.7, 0.05),  # arxiv.org/abs/2104.04473, table 1, and so on
    "gpt-3.6b": (3.6, 0.05),
    "gpt-7.5b": (7.5, 0.05),
    "gpt-18.4b": (18.4, 0.05),
    "gpt-39.1b": (39.1, 0.05),
    "gpt-76.1b": (76.1, 0.05),
    "gpt-145.6b": (145.6, 0.05),
    "gpt-310.1b": (310.1, 0.05),
    "gpt-529.6b": (529.6, 0.05),
    "gpt-1008b": (1008.0, 0.05),
    "gpt-22b": (22, 0.5),  # arxiv.org/abs/2205.05198, table 3, and so on
    "gpt-530b": (530, 0.5),
    "gpt-1t": (1000, 10),
    "gpt3-5b": (5, 0.1),  # docs.nvidia.com, NeMo's performance summary calls them so
    "gpt3-20b": (20, 0.5),
}

ACTIVE = {
    # (billions, tolerance, whether the embedding is counted as well as the head)
    "grok-1": (83.756587008, 1e-9, True),
    "grok-2": (115, 0.5, True),  # huggingface.co/xai-org/grok-2
    "mixtral-8x7b": (12.9, 0.05, True),  # arxiv.org/abs/2401.04088: 13B; mistral.ai/news/mixtral-of-experts: 12.9B
    "mixtral-8x22b": (39, 0.5, True),  # mistral.ai/news/mixtral-8x22b
    "qwen3-30b-a3b": (3.3, 0.1, True),  # huggingface.co/Qwen/Qwen3-30B-A3B
    "qwen3-235b-a22b": (22, 0.5, True),
    "deepseek-v2": (21, 0.5, True),  # arxiv.org/abs/2405.04434
    "deepseek-v3": (37, 0.5, False),  # arxiv.org/abs/2412.19437
    "kimi-k2": (32, 0.5, False),  # arxiv.org/abs/2507.20534
    "gpt-oss-120b": (5.13, 0.005, False),  # arxiv.org/abs/2508.10925, table 1, which says how it counts
    "gpt-oss-20b": (3.61, 0.005, False),
}

CACHE = {
    # Bytes a token in bf16.
    "grok-1": 262_144,  # 64 layers, 8 key-value heads of 128
    "deepseek-v3": 70_272,  # arxiv.org/abs/2505.09343, table 1, and the next two
    "qwen2.5-72b": 327_680,
    "llama-3.1-405b": 516_096,
    "deepseek-v2": 60 * 576 * 2,  # arxiv.org/abs/2405.04434, table 1: (4 + 1/2) heads of 128 a layer
    "palm-540b": 118 * 2 * 256 * 2,  # one key-value head
}


def test_every_entry_of_others_is_held_against_what_is_published():
    assert catalog_models().keys() - {"pebble"} == EXACT.keys() | ROUNDED.keys()


@pytest.mark.parametrize(("name", "published"), EXACT.items())
def test_parameters_are_the_published_ones(name, published):
    assert load_model_spec(name).parameters == published


@pytest.mark.parametrize(("name", "published"), ROUNDED.items())
def test_parameters_round_to_the_published_ones(name, published):
    billions, tolerance = published
    assert load_model_spec(name).parameters / 1e9 == pytest.approx(billions, abs=tolerance)


@pytest.mark.parametrize(("name", "published"), ACTIVE.items())
def test_active_parameters_are_the_published_ones(name, published):
    billions, tolerance, embedding = published
    spec = load_model_spec(name)
    counted = spec.active_parameters - (0 if embedding else spec.vocabulary * spec.width)
    assert counted / 1e9 == pytest.approx(billions, abs=tolerance)


def test_dense_models_are_all_active():
    for spec in catalog_models().values():
        assert (spec.active_parameters == spec.parameters) == (spec.mixture_layers == 0), spec.name


@pytest.mark.parametrize(("name", "published"), CACHE.items())
def test_caches_are_the_published_ones(name, published):
    assert load_model_spec(name).kv_bytes_per_token() == published


def test_layers_with_a_window_keep_no_more_than_it():
    spec = load_model_spec("gpt-oss-120b")
    assert spec.full_layers == 18
    assert spec.kv_tokens(100) == 100
    assert spec.kv_tokens(131_072) == (131_072 + 128) / 2


@pytest.mark.parametrize("spec", catalog_models().values(), ids=lambda spec: spec.name)
def test_every_entry_says_where_it_comes_from_and_survives_json(spec):
    assert spec.title
    assert spec.licence
    assert spec.source.startswith("https://") or spec.name == "pebble"
    assert ModelSpec.parse(json.loads(spec.model_dump_json())) == spec


def test_entries_written_before_the_newer_fields_read_as_they_did():
    spec = load_model_spec("grok-1")
    assert spec.mixture_layers == spec.full_layers == spec.layers
    assert (spec.norms_per_layer, spec.gated, spec.biases, spec.latent) == (4, True, "none", None)
    assert (spec.embedding_norm, spec.alibi, spec.learned_positions) == (False, False, False)
