"""The look, and the pictures that two chapters or more share."""
