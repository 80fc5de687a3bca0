"""Pure: from RTP times and sender reports to one timeline, file order and split points."""
