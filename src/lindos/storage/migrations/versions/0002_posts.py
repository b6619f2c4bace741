"""Posts, their authors, the places of streams, and what search looks words up in."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables, and the index of words of the database at hand."""
    op.create_table(
        "post_authors",
        sa.Column("id", _ID, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("place", _NAME, nullable=False),
        sa.Column("handle", sa.Text, nullable=False),
        sa.Column("handle_place", _NAME),
        sa.Column("handle_at", _TIME),
    )
    op.create_index("ix_post_authors_key", "post_authors", ["key"], unique=True)
    op.create_index("ix_post_authors_place", "post_authors", ["place"])
    op.create_index("ix_post_authors_handle_place", "post_authors", ["handle_place"])
    op.create_table(
        "posts",
        sa.Column("id", _ID, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("author_id", _ID, sa.ForeignKey("post_authors.id"), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("links", sa.Text, nullable=False),
        sa.Column("reply_to", sa.Text),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.Column("created_at", _TIME),
        sa.Column("edited_at", _TIME),
        sa.Column("deleted_at", _TIME),
    )
    op.create_index("ix_posts_key", "posts", ["key"], unique=True)
    op.create_index("ix_posts_author_id_id", "posts", ["author_id", "id"])
    op.create_table(
        "post_early",
        sa.Column("key", sa.LargeBinary(16), primary_key=True),
        sa.Column("deleted_at", _TIME),
        sa.Column("edited_at", _TIME),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("links", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
    )
    op.create_table(
        "post_takedowns",
        sa.Column("author_id", _ID, sa.ForeignKey("post_authors.id"), primary_key=True, autoincrement=False),
        sa.Column("source_key", sa.LargeBinary(16), primary_key=True),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_table(
        "post_streams",
        sa.Column("key", sa.LargeBinary(16), primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
    )
    state = op.create_table(
        "post_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("living", sa.BigInteger, nullable=False),
        sa.Column("posts", sa.BigInteger, nullable=False),
        sa.Column("authors", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("vectors", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(state, [{"id": 1, "living": 0, "posts": 0, "authors": 0, "revision": 0, "vectors": 0}])
    op.create_table(
        "post_vectors",
        sa.Column("id", _ID, sa.ForeignKey("posts.id"), primary_key=True, autoincrement=False),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_post_vectors_serial", "post_vectors", ["serial"], unique=True)
    if op.get_bind().dialect.name == "sqlite":
        # What it is given are words already, parted by spaces: knowledge/words.py.
        op.execute("CREATE VIRTUAL TABLE post_words USING fts5(words, tokenize = 'ascii')")
    else:
        op.execute("CREATE TABLE post_words (id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)")
        op.execute("CREATE INDEX ix_post_words_words ON post_words USING gin (words)")


def downgrade() -> None:
    """Drop all of it."""
    for table in (
        "post_words",
        "post_vectors",
        "post_state",
        "post_streams",
        "post_takedowns",
        "post_early",
        "posts",
        "post_authors",
    ):
        op.drop_table(table)
