"""Tests of the API's targets."""
