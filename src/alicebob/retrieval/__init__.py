"""Retrieval: documents as text, and search in texts by their words or by what they mean.

`bm25` searches by words, `dense` by a sentence embedder, `documents` reads a folder, and `library`
joins them. Does not: know what a text is for.
"""
