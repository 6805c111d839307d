"""What takes too long for the test suite: `make soak`."""
