"""What the tests of several packages share: one clock, one peer, one recorder to test against."""
