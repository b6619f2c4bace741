"""What an answer rests on is kept with it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Answers of before rest on nothing that is known."""
    op.add_column("messages", sa.Column("basis", sa.Text, nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("messages", "basis")
