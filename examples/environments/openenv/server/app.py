"""The application that serves episodes; `python -m server.app` runs it without Docker."""

import os

from triton_gym.integrations.openenv import create_app

app = create_app(reward=os.environ.get("TRITON_GYM_REWARD", "autotriton"))  # as openenv.yaml says


def main() -> None:
    """Serve on loopback; `--host` and `--port` say otherwise."""
    import argparse

    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    uvicorn.run(app, host=given.host, port=given.port)


if __name__ == "__main__":
    main()
