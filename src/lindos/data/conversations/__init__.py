"""Making the conversations a model is tuned on: own templates in the voice of the product, and what people wrote.

`prepare` goes through a mix and writes the data set; `own`, `tales`, `sums`, `words` make conversations out of the
tables in `texts/`, `lookup`, `asked`, `dialogue` out of sources; `filter` and `claims` say what is not to be learnt.
"""

from lindos.data.conversations.prepare import load_chat_mix, prepare_conversations

__all__ = ["load_chat_mix", "prepare_conversations"]
