"""Alice by a language model: her verbs, in whatever room, and their prompts."""
