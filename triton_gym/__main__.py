"""`python -m triton_gym` is `triton-gym`."""

from triton_gym.cli import main

if __name__ == "__main__":
    main()
