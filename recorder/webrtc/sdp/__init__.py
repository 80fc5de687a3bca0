"""Session descriptions: offers and answers, written and read."""
