"""Language models as policies: loading them, sampling from them, scoring what they said."""
