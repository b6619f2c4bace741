"""`lindos posts` by hand: import, search, status, and what it says to mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lindos.cli.main import main
from lindos.cli.posts_telling import _harmless, _time
from lindos.knowledge.streams import SOURCES, Stream, StreamError, parse_source, parse_sources, place_of
from lindos.knowledge.streams.mastodon import TOKEN, Mastodon
from tests.knowledge.test_stream_files import line


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def posts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, in this process: starting Python takes longer than most of what is tested."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["lindos", "posts", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


def test_what_is_imported_is_found_and_exported_and_imported_again(posts: Run, tmp_path: Path):
    path = tmp_path / "in.jsonl"
    lines = [
        line(1, text="The count in Lindos goes on 🗳️", language="en", created_at="2026-07-04T14:00:00Z"),
        line(2, text="Le dépouillement continue", author="agence.example", language="fr"),
        line(3, text="bad \x1b[2J\u202e idea", links=["https://a.example"]),
        "nonsense",
        json.dumps({"edit": {"uri": "x:2", "text": "Le dépouillement est fini"}}),
        line(4),
        json.dumps({"delete": {"uri": "x:4"}}),
    ]
    path.write_text("\n".join(lines))
    done = posts("import", path)
    assert done.returncode == 0, done.stderr
    assert "line 4: not JSON" in done.stderr
    assert "7 lines, 4 new posts, 1 edited, 1 deleted, 0 known, 0 about something else, 1 malformed" in done.stderr
    assert "3 posts are kept" in done.stderr
    assert "nothing new since the last import" in posts("import", path).stderr

    found = posts("search", "count", "--language", "en")
    assert "The count in Lindos goes on 🗳️" in found.stdout
    assert "desk.example" in found.stdout
    assert "fini" in posts("search", "--author", "agence.example").stdout
    assert "\x1b" not in posts("search").stdout
    assert "Nothing is found" in posts("search", "count", "--until", "1h").stdout

    exported = posts("search", "--json").stdout
    assert [json.loads(one)["uri"] for one in exported.splitlines()] == ["x:3", "x:2", "x:1"]
    copy = tmp_path / "copy.jsonl"
    copy.write_text(exported)
    assert "3 new posts" in posts("import", copy, "--keep-times", "--data", tmp_path / "other").stderr
    again = [json.loads(one) for one in posts("search", "--json", "--data", tmp_path / "other").stdout.splitlines()]
    first = [json.loads(one) for one in exported.splitlines()]
    for record in [*again, *first]:
        del record["source"]
    # Those seen within a millisecond come in the order of the import.
    assert sorted(again, key=lambda record: record["uri"]) == first[::-1]
    assert "edited_at" in first[1]

    told = posts("status").stdout
    assert "3 posts are kept" in told
    assert str(path) in told.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["follow", "blusky"], "did you mean bluesky?"),
        (["follow", "mastodon"], "did you mean mastodon:HOST?"),
        (["follow", "bluesky", "hackernews", "--url", "wss://x.example"], "give one source with it"),
        (["follow", "bluesky", "--url", "ftp://x"], "no address of a Jetstream"),
        (["follow", "hackernews", "--url", "x"], "no address of the API"),
        (["follow", "mastodon:a b"], "no name of a Mastodon server"),
        (["follow", "feed:x"], "no address of a feed"),
        (["follow", "feed:https://x.example/feed", "--url", "https://y.example"], "says already where it is"),
        (["follow", "hackernews", "hackernews"], "named twice"),
        (["follow", "file:/nowhere/posts.jsonl"], "No such file"),
        (["search", "--since", "tomorrow"], "is no time"),
        (["search", "--since", "800000d"], "is no time"),
        (["follow", "bluesky:wss://a..b"], "no address of a Jetstream"),
        (["search", "--since", "9999-12-31T23:59:59-12:00"], "is no time"),
        (["import", "/nowhere.jsonl"], "there is no file '/nowhere.jsonl'"),
    ],
)
def test_mistakes_are_answered_in_one_message(posts: Run, arguments: list[str], words: str):
    done = posts(*arguments)
    assert done.returncode in (1, 2)
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_file_without_a_post_fails(posts: Run, tmp_path: Path):
    path = tmp_path / "in.jsonl"
    path.write_text("nonsense\n" * 9)
    done = posts("import", path)
    assert done.returncode == 1
    assert "no line of that is a post" in done.stderr


def test_a_store_that_cannot_be_opened_is_told(posts: Run, tmp_path: Path):
    (tmp_path / "file").write_text("")
    done = posts("status", "--data", tmp_path / "file")
    assert done.returncode == 1
    assert "cannot be" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_starts_without_torch():
    modules = "lindos.cli.posts, lindos.cli.posts_telling, lindos.knowledge.streams"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_every_source_is_made_of_its_word(tmp_path: Path):
    words = {
        "bluesky": "bluesky",
        "BlueSky-v1": "bluesky-v1",
        "mastodon:Social.example": "mastodon:social.example",
        "feed:https://a.example/x.xml": "feed:https://a.example/x.xml",
        "https://a.example/x.xml": "feed:https://a.example/x.xml",
        "hackernews": "hackernews",
        f"file:{tmp_path}/a": f"file:{tmp_path}/a",
    }
    assert {word: parse_source(word, environment={}).name for word in words} == words
    assert len(SOURCES) == len({word.lower().partition(":")[0] for word in words} - {"https"})
    for word in ("", "bluesky:x", "hackernews:5", "feed:", "file:", ":", "mastodon:"):
        with pytest.raises(StreamError, match="there is no source"):
            parse_source(word, environment={})


def test_a_token_is_for_one_server(monkeypatch: pytest.MonkeyPatch):
    def told(source: Stream) -> dict[str, str]:
        assert isinstance(source, Mastodon)
        return source._bearer

    both = ["mastodon:a.example", "mastodon:b.example"]
    monkeypatch.setenv(TOKEN, "secret")
    assert told(parse_sources(both[:1])[0]) == {"Authorization": "Bearer secret"}
    with pytest.raises(StreamError, match=r"a\.example=TOKEN b\.example=TOKEN"):
        parse_sources(both)
    monkeypatch.setenv(TOKEN, "b.example=two== c.example=three")
    assert [told(source) for source in parse_sources(both)] == [{}, {"Authorization": "Bearer two=="}]
    monkeypatch.delenv(TOKEN)
    assert [told(source) for source in parse_sources(both)] == [{}, {}]


def test_places_tell_times_where_cursors_do():
    at = place_of("bluesky", "12345 1783175888085434")
    assert at is not None
    assert at == place_of("bluesky-v1", "1783175888085434") == place_of("bluesky:host", "12345 1783175888085434")
    assert place_of("mastodon:a.example", str(1_783_175_888_085 << 16)) is not None
    assert [place_of(name, "5") for name in ("bluesky", "mastodon:x", "feed:x", "hackernews", "file:x")] == [None] * 5


def test_what_is_shown_cannot_move_a_cursor():
    assert _harmless("a\x1b[2J\u202eb\x07\nc\u200dd") == "a [2J b \nc\u200dd"
    assert [_time(s) for s in (0.25, 99, 100, 3700, 90_000)] == ["0.2 s", "99.0 s", "1 min", "1 h 01 min", "1 d 1 h"]
