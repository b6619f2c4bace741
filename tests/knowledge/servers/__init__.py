"""Local servers that speak what the sources of posts speak."""
