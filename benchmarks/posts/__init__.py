"""The store of posts: how fast posts go in, and how long a question takes over many of them."""
