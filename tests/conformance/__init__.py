"""What we write, read by everybody else: one suite over every row of the codec table."""
