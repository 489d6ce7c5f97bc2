"""What two processes share: messages, memory, and a gate that their GPU streams pass."""
