"""Read files of weights safely, and find in them the network that a family asks for, however it was wrapped."""
