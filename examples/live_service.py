"""A service whose kernel improves while it serves: no request fails, none waits for the search.

    python examples/live_service.py --seconds 300 --plot latency.png

Without a GPU the search runs on the simulated device, and the original goes on to answer.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch

import triton_gym


def rms_norm(x: torch.Tensor, w: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    mean = x.float().pow(2).mean(-1, keepdim=True)
    return (x.float() * torch.rsqrt(mean + eps)).to(x.dtype) * w


def request(device: str, rows: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, width, device=device), torch.ones(width, device=device)


def plot(path: str, latencies: list[tuple[float, float]], swapped: float | None) -> None:
    """Latency over time. Needs the extra `report` (matplotlib)."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(8, 4.5), layout="constrained")
    axes = picture.subplots()
    axes.plot(*zip(*latencies, strict=True), ".", ms=2, alpha=0.4)
    if swapped is not None:
        axes.axvline(swapped, color="tab:red", lw=1, label="the kernel answers")
        axes.legend()
    axes.set(xlabel="s", ylabel="latency of a request, µs", yscale="log")
    picture.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="what the search evaluates on")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--share", type=float, default=0.05, help="of the GPU, for the search")
    parser.add_argument("--plot", help="a picture of the latencies")
    parser.add_argument("--smoke", action="store_true", help="five seconds")
    args = parser.parse_args()

    live = torch.cuda.is_available() and not args.device.startswith("simulated")
    device, width = ("cuda:0", 4096) if live else ("cpu", 256)
    seconds = 5.0 if args.smoke else args.seconds
    serve = triton_gym.optimize(
        rms_norm, examples=[request(device, 2048 if live else 64, width)], dynamic={"x": (0,)},
        seconds=seconds, device=args.device, share=args.share,
        cache=tempfile.mkdtemp() if args.smoke else None,
    )  # fmt: skip
    latencies: list[tuple[float, float]] = []
    swapped, began, number = None, time.perf_counter(), 0
    with torch.inference_mode():
        while time.perf_counter() - began < seconds:
            number += 1
            x, w = request(
                device, 32 + number % 16 if not live else 1024 + 16 * (number % 64), width
            )
            start = time.perf_counter()
            serve(x, w)
            if live:
                torch.cuda.synchronize()
            end = time.perf_counter()
            latencies.append((end - began, (end - start) * 1e6))
            if swapped is None and number % 100 == 0 and serve.report().runs == "kernel":
                swapped = end - began
                print(f"after {swapped:.0f} s the kernel answers")
            time.sleep(0.002)
    print(serve.report())
    serve.stop()
    taken = sorted(latency for _, latency in latencies)
    print(f"{number} requests, none failed: p50 {taken[number // 2]:.0f} µs, "
          f"p99 {taken[int(0.99 * number)]:.0f} µs, longest {taken[-1]:.0f} µs")  # fmt: skip
    if args.plot:
        plot(args.plot, latencies, swapped)


if __name__ == "__main__":
    main()
