"""Fixtures every room's tests may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported anywhere: tests share few cores with the processes they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from lindos.specs import ModelSpec
from tests.postgres import Postgres, programs

# Shared machines are slow now and then; how long an example takes says nothing about it.
settings.register_profile("lindos", deadline=None, print_blob=True)
settings.load_profile("lindos")

TINY_TEXT = """\
The sun rises in the east and sets in the west. A small boat left the harbour of Lindos at dawn, and nobody knew why.
Once upon a time there was a statue so tall that ships sailed between its feet, or so the people of the island said.
How are you today? I am well, thank you very much. What is the capital of France? Paris is the capital of France.
Yesterday my neighbour bought eleven green apples, three lemons and a bottle of water at the market near the bridge.
When winter comes, the birds fly south; when spring returns, they build their nests under the roofs of old houses.
"Please close the window," asked the teacher, because the wind was blowing hard and the papers danced on the table.
An honest answer is short: sometimes we simply do not know, and saying so is better than inventing another story.
"""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the project; tests that want it are skipped without it."""
    root = Path(os.environ.get("LINDOS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (root / "golden").is_dir():
        pytest.skip("the reference data (LINDOS_SHARED) is not here")
    return root


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; tests that want it are skipped without it, unless nothing may be skipped."""
    found = programs()
    if found is None:
        words = "PostgreSQL is not installed (on Debian and Ubuntu: apt install postgresql)"
        if os.environ.get("LINDOS_NO_SKIP") == "1":
            pytest.fail(words)
        pytest.skip(words)
    server = Postgres(found)
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """An empty database, of either kind: what `Database.open` takes."""
    if request.param == "sqlite":
        return tmp_path / "lindos.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.fresh()


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """An empty PostgreSQL database."""
    return postgres.fresh()


@pytest.fixture(scope="session")
def tiny_spec() -> ModelSpec:
    """Grok-1's architecture, small enough that a test can train it."""
    return ModelSpec(
        name="tiny",
        layers=2,
        width=32,
        vocabulary=512,
        sequence=256,
        heads=4,
        kv_heads=2,
        head_size=8,
        experts=4,
        experts_per_token=2,
        expert_width=48,
        embedding_multiplier=5.656854249492381,
        logit_multiplier=0.5773502691896257,
        attention_multiplier=0.35355339059327373,
        attention_softcap=30.0,
        pad_token=0,
        kind="chat",
    )


@pytest.fixture(scope="session")
def tiny_tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a byte-level tokenizer.json of 512 words."""
    from lindos.text import train_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([TINY_TEXT] * 20, 512).save(folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory, tiny_spec: ModelSpec, tiny_tokenizer_dir: Path) -> Path:
    """A model directory in Lindos's own format: random weights, a real tokenizer."""
    from lindos.model import Transformer, initialise
    from lindos.model.formats import save_model

    folder = tmp_path_factory.mktemp("models") / "tiny"
    model = Transformer(tiny_spec)
    initialise(model, seed=7)
    save_model(model, folder, tokenizer=tiny_tokenizer_dir)
    return folder
