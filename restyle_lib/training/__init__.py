"""Training: one resumable loop, and the trainers of generators, feature networks and encoders on it."""
