"""Text and tokens: tokenizers, chat templates and incremental detokenising.

For everything between a person's words and a list of token ids, in both directions. Not for reading data sets (that is
`lindos.data`) and not for anything with tensors: this room never imports torch.
"""

from lindos.text.bytelevel import ByteLevelTokenizer, train_tokenizer
from lindos.text.chat import ChatTemplate, LabelledTurns, RoleTokens, chat_template
from lindos.text.detokenizer import Detokenizer
from lindos.text.loading import load_tokenizer
from lindos.text.metaspace import MetaspaceTokenizer
from lindos.text.pieces import SentencePieceTokenizer
from lindos.text.tokenizer import SPECIAL_TOKENS, Tokenizer

__all__ = [
    "SPECIAL_TOKENS",
    "ByteLevelTokenizer",
    "ChatTemplate",
    "Detokenizer",
    "LabelledTurns",
    "MetaspaceTokenizer",
    "RoleTokens",
    "SentencePieceTokenizer",
    "Tokenizer",
    "chat_template",
    "load_tokenizer",
    "train_tokenizer",
]
