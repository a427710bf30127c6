"""What trains: data, models, the step, the loop, and what they cost here."""
