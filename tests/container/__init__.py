"""The image and its neighbours, built and run without a Docker engine."""
