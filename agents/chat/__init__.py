"""Language models that are not trained here: best-of-n and multi-turn chat, and their scores."""
