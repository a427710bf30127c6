"""What needs a kernel or a page: widgets, guesses, live runs, set-up, build."""
