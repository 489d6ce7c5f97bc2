"""How long a call takes, from the machine code of its launches and what they were seen to do."""
