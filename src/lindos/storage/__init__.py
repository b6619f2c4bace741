"""The database: its engine and sessions, its migrations, and the conversations and responses kept in it.

SQLite in one file by default, any SQLAlchemy async URL beyond one machine. Nothing here knows models, HTTP or pages,
and no other room of Lindos is imported.
"""

import lindos.storage.post_tables  # noqa: F401 - so that the metadata knows all tables
from lindos.storage.conversations import Conversations, NotFound, Thread
from lindos.storage.database import Database, StorageError, data_directory, database_location
from lindos.storage.event_tables import EventRow
from lindos.storage.responses import Responses, StoredResponse
from lindos.storage.tables import ConversationRow, MessageRow, State

__all__ = [
    "ConversationRow",
    "Conversations",
    "Database",
    "EventRow",
    "MessageRow",
    "NotFound",
    "Responses",
    "State",
    "StorageError",
    "StoredResponse",
    "Thread",
    "data_directory",
    "database_location",
]
