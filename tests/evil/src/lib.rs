//! Scorer components that misbehave in one exact way each; for tests only.
