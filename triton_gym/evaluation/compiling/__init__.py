"""From Triton's IR to machine code, in processes of ours that never ran an answer."""
