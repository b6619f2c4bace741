"""Log probabilities of tokens, in the two shapes that OpenAI has for them.

Listed are the tokens that have text: not the special one that ends an answer, but those of a stop string that was cut.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from lindos.assistant import TokenLogprob
from lindos.server.v1.replies import ChatLogprobs, ListedToken, TextLogprobs, TokenReply

LEAST = -9999.0
"""What stands for minus infinity, which JSON does not have; OpenAI's choice."""


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> ChatLogprobs:
    """As chat completions have them."""
    listed = [
        ListedToken(**_reply(token).model_dump(), top_logprobs=[_reply(one) for one in token.top])
        for token in tokens
        if token.data
    ]
    return ChatLogprobs(content=listed)


class TextPlaces:
    """Where the tokens of one growing text begin in it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._length = 0

    def logprobs(self, tokens: Sequence[TokenLogprob]) -> TextLogprobs:
        """As completions have them, of the next tokens of the text."""
        found = TextLogprobs()
        for token in tokens:
            if not token.data:
                continue
            if not 0x80 <= token.data[0] < 0xC0:  # a character begins: one that was left unfinished is over
                self._length += len(self._decoder.decode(b"", final=True))
            found.tokens.append(spelled(token))
            found.token_logprobs.append(max(token.logprob, LEAST))
            found.top_logprobs.append({spelled(one): max(one.logprob, LEAST) for one in (token, *token.top)})
            found.text_offset.append(self._length)
            self._length += len(self._decoder.decode(token.data))
        return found


def spelled(token: TokenLogprob) -> str:
    """A token as a string that differs from every other's: its text where it has one, else its bytes or its number."""
    if not token.data:
        return f"token_id:{token.token}"
    try:
        return token.data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.data)


def _reply(token: TokenLogprob) -> TokenReply:
    return TokenReply(
        token=spelled(token), logprob=max(token.logprob, LEAST), bytes=list(token.data) if token.data else None
    )
