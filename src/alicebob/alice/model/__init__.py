"""Alice by a language model: her verbs but `correct`, in whatever room, and their prompts."""
