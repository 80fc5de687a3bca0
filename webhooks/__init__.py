"""A fact, kept until the customer has it."""
