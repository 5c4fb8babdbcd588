"""Bob: the language model that learns. His prompts, his base, his rows and his training."""
