"""Events and files of scenarios on a simulated clock, for tests of webhook consumers."""
