"""What the scripted model says to which question."""

from __future__ import annotations

RICH = """\
A **mixture of experts** asks only a few of its networks for each word.

### How a token travels

1. The *router* scores every expert.
2. The two best do the work; the others enjoy the sun.

| Part | Parameters |
|:-----|-----------:|
| Experts | 14.6M |

```python
def moe(x, router, experts, k=2):
    return sum(gate * expert(x) for gate, expert in router.best(x, experts, k))  # a long line, for narrow windows
```

> A giant is only many small stones that agreed to stand up.
"""

HOSTILE = """\
<script>window.pwned = 1</script>
<img src=x onerror="window.pwned = 2">
<svg onload="window.pwned = 3"><a href="javascript:window.pwned = 4">x</a>

[click me](javascript:window.pwned=5) and ![a picture](https://evil.example/track.png)
and <iframe srcdoc="<script>parent.pwned = 6</script>"></iframe>

| <b onclick="window.pwned = 7">cell</b> |
|---|
| <style>body { display: none }</style> |

```html onload=window.pwned=8
</code></pre><script>window.pwned = 9</script>
```

[reference]

[reference]: javascript:window.pwned=10
"""

NESTED = "> " * 400 + "deep\n\n" + "- " * 400 + "deep\n\n" + "**a " * 400 + "\n\n" + "[" * 3000

WIDE = "W" * 600 + "\n\n`" + "c" * 400 + "`\n\n" + "| " + " | ".join(["column"] * 30) + " |\n" + "|-" * 30 + "|\n"

LONG = "\n\n".join(f"Paragraph {n} of a long answer that goes on and on, as some do." for n in range(60))

ANSWERS = {
    "rich": RICH,
    "hostile": HOSTILE,
    "nested": NESTED,
    "wide": WIDE,
    "long": LONG,
    "nothing": "",
    "who": "I'm Lindos. I'm made of nineteen million numbers and one sense of humour.",
}


def answer(question: str) -> str:
    """The answer to a question by its first word; else the question, repeated."""
    return ANSWERS.get(question.split()[0].lower().strip("?.,!"), f"You said: {question}")
