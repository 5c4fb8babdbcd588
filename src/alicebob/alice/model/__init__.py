"""Alice by a language model: the same five verbs, in whatever room, and the prompts beside them."""
