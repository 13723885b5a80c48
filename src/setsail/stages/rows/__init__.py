"""Before training: the base, the tokenizer, the rows and their tokens; and where a row came from and went."""
