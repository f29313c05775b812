"""Model servers: how each is started, asked and judged alive.

In: a slot (what to load, or where it answers). Out: a command line for the supervisor, a server for the length of a `with`
block, answers of a chat client. Owns: no ledger. Never: decides who gets traffic, keeps state between calls, or asks a
server that is not named by the slot.
"""

from __future__ import annotations

from tunekeeper.engines.client import Answer, ChatClient
from tunekeeper.engines.engine import ENGINES, Engine, healthy, launch_command
from tunekeeper.engines.temporary import serve_temporarily

__all__ = ["ENGINES", "Answer", "ChatClient", "Engine", "healthy", "launch_command", "serve_temporarily"]
