"""Part II: a chat model recommends, and every step keeps what it said. Imports data and world."""
