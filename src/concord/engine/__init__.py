"""The engine: exact and fast log-probabilities of any causal language model, or a refusal with the reason."""
