"""Does all once before a process forks, so that its children find what that takes."""

from __future__ import annotations

import numpy as np

from triton_gym.evaluation.plan import codec
from triton_gym.evaluation.plan.messages import Partial
from triton_gym.evaluation.plan.plan import Plan, Steps
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.interpreter.bounds import Bounds
from triton_gym.evaluation.simulate.interpreter.emit import program_of
from triton_gym.evaluation.simulate.tracing.launched import Launched
from triton_gym.evaluation.simulate.tracing.trace import trace

_KERNEL = """
module {
  tt.func public @warm(%x: !tt.ptr<f32>, %n: i32) attributes {noinline = false} {
    %zero = arith.constant 0 : i32
    %one = arith.constant 1 : i32
    %none = arith.constant dense<0.000000e+00> : tensor<64xf32>
    %row = tt.get_program_id x : i32
    %range = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
    %size = tt.splat %n : i32 -> tensor<64xi32>
    %mask = arith.cmpi slt, %range, %size : tensor<64xi32>
    %base = tt.splat %x : !tt.ptr<f32> -> tensor<64x!tt.ptr<f32>>
    %at = tt.addptr %base, %range : tensor<64x!tt.ptr<f32>>, tensor<64xi32>
    %sum = scf.for %i = %zero to %n step %one iter_args(%acc = %none) -> (tensor<64xf32>) : i32 {
      %value = tt.load %at, %mask, %none : tensor<64x!tt.ptr<f32>>
      %exp = math.exp %value : tensor<64xf32>
      %next = arith.addf %acc, %exp : tensor<64xf32>
      scf.yield %next : tensor<64xf32>
    }
    tt.store %at, %sum, %mask : tensor<64x!tt.ptr<f32>>
    tt.return
  }
}
"""


def warm() -> None:
    """Parse, run and trace it, and learn to read plans."""
    codec.prepare(Plan, Partial, Steps, View)
    data = np.zeros(64, np.float32)
    start = data.ctypes.data
    program = program_of(_KERNEL)
    bounds = Bounds([(start, start + data.nbytes, "warm")])
    launched = Launched(0, "", "warm", (4, 1, 1), program, [start, 60], bounds, 4)
    for number in range(launched.programs):
        launched.run(number)
    trace(launched, 0)
