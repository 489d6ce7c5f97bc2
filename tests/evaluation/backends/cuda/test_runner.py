"""The runner on a real GPU: what it executes, what a kernel can reach there, and what it costs."""

from __future__ import annotations

import dataclasses
import struct

import pytest
import torch

from triton_gym.evaluation.backends.cuda.blocks import Block, BlockPool
from triton_gym.evaluation.backends.cuda.client import RunnerFailure, RunnerPool
from triton_gym.evaluation.backends.cuda.orders import (
    Begin,
    End,
    Execute,
    Part,
    Program,
    Run,
    TimeRuns,
)
from triton_gym.evaluation.compiling.artifact import Artifact, Target
from triton_gym.evaluation.compiling.compiler import ArtifactCache, Compiler
from triton_gym.evaluation.plan.step import (
    Buffer,
    BufferKind,
    Copy,
    Fill,
    Gather,
    Kernel,
    Launch,
    Pointer,
    Scalar,
    Step,
    Upload,
)
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import ARGUMENTS, SCRATCH
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.worker_pool import WorkerPool
from triton_gym.outcome import Status

pytestmark = pytest.mark.gpu
IN, OUT = ARGUMENTS.start, SCRATCH.start
TTIR = """
module {
  tt.func public @kernel(%x: !tt.ptr<f32>, %y: !tt.ptr<f32>, %n: i32) {
    %size = arith.constant 256 : i32
    %program = tt.get_program_id x : i32
    %start = arith.muli %program, %size : i32
    %range = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
    %starts = tt.splat %start : i32 -> tensor<256xi32>
    %index = arith.addi %starts, %range : tensor<256xi32>
    %ends = tt.splat %n : i32 -> tensor<256xi32>
    %mask = arith.cmpi slt, %index, %ends : tensor<256xi32>
    %xs = tt.splat %x : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
    %from = tt.addptr %xs, %index : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
    %value = tt.load %from, %mask : tensor<256x!tt.ptr<f32>>
    %sum = arith.addf %value, %value : tensor<256xf32>
    %ys = tt.splat %y : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
    %to = tt.addptr %ys, %index : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
    tt.store %to, %sum, %mask : tensor<256x!tt.ptr<f32>>
    tt.return
  }
}
"""
SPIN = """
module {
  tt.func public @kernel(%x: !tt.ptr<f32>, %y: !tt.ptr<f32>, %n: i32) {
    %zero = arith.constant 0.0 : f32
    scf.while : () -> () {
      %value = tt.load %y {isVolatile = true} : !tt.ptr<f32>
      %same = arith.cmpf une, %value, %zero : f32
      scf.condition(%same)
    } do {
      scf.yield
    }
    tt.store %y, %zero : !tt.ptr<f32>
    tt.return
  }
}
"""
RESIDUE = """
module {
  tt.func public @kernel(%x: !tt.ptr<f32>, %y: !tt.ptr<f32>, %n: i32) {
    %size = arith.constant 128 : i32
    %program = tt.get_program_id x : i32
    %start = arith.muli %program, %size : i32
    %range = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
    %found = tt.elementwise_inline_asm "{ .shared .align 16 .b8 area[49152]; .reg .pred %p; .reg .b32 %i, %a, %v, %c; mov.u32 %i, $1; mov.u32 %c, 0; again: shl.b32 %a, %i, 2; mov.u32 %v, area; add.u32 %a, %a, %v; ACT add.u32 %i, %i, 128; setp.lt.u32 %p, %i, 12288; @%p bra again; mov.u32 $0, %c; }" {constraints = "=r,r", packed_element = 1 : i32, pure = false} %range : tensor<128xi32> -> tensor<128xi32>
    %starts = tt.splat %start : i32 -> tensor<128xi32>
    %index = arith.addi %starts, %range : tensor<128xi32>
    %value = arith.sitofp %found : tensor<128xi32> to tensor<128xf32>
    %ys = tt.splat %y : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
    %to = tt.addptr %ys, %index : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
    tt.store %to, %value : tensor<128x!tt.ptr<f32>>
    tt.return
  }
}
"""
KEEP = RESIDUE.replace("ACT", "st.volatile.shared.u32 [%a], 305419896;")
FIND = RESIDUE.replace(
    "ACT", "ld.volatile.shared.u32 %v, [%a]; setp.eq.u32 %p, %v, 305419896; @%p add.u32 %c, %c, 1;"
)
COUNT = 1000


@pytest.fixture(scope="module")
def servers():
    pools = WorkerPool("run"), WorkerPool("lower")
    yield pools
    for pool in pools:
        pool.close()


@pytest.fixture(scope="module")
def runners(servers):
    torch.cuda.init()
    found = RunnerPool(servers[0], 0, 2 * torch.cuda.get_device_properties(0).L2_cache_size)
    yield found
    found.close()


@pytest.fixture(scope="module")
def blocks(runners):
    return BlockPool(torch.device("cuda", 0), runners.forget)


@pytest.fixture(scope="module")
def compiled(servers):
    major, minor = torch.cuda.get_device_capability()
    target = Target(10 * major + minor)
    with Compiler(servers[1], target, ArtifactCache(), Limits(seconds=60)) as compiler:
        yield {
            name: compiler.compile(text, {})
            for name, text in (("double", TTIR), ("spin", SPIN), ("keep", KEEP), ("find", FIND))
        }


def program(artifact: Artifact | None, *steps: Step, blobs: bytes = b"") -> Program:
    kernel = Kernel(0, "kernel", ("*fp32", "*fp32", "i32"), (), (), 4, 3, 1, False, False, 1)
    buffers = (Buffer(0, OUT, 4 * COUNT, BufferKind.SCRATCH, 0, len(steps) + 1),)
    artifacts = {0: artifact} if artifact else {}
    return Program(buffers, (kernel,), artifacts, (), steps, steps, blobs)


def launch(x: int = IN, y: int = OUT, count: int = COUNT) -> Launch:
    arguments = (Pointer(x), Pointer(y), Scalar("i32", count))
    return Launch(0, (-(-count // 256), 1, 1), arguments, 0, 1)


def execute(runners: RunnerPool, what: Program, *memory: Block, seconds: float = 20.0) -> None:
    run = Run(Part.FIRST, memory[0].memory, memory[1].memory, 0x7FFDFFFE)
    with runners() as runner:
        runner.ask(Begin(what, None), (), 20.0)
        runner.ask(Execute((run,)), memory, seconds)
        runner.ask(End(), (), 20.0)


@pytest.fixture
def memory(blocks):
    taken = blocks.take(1 << 16), blocks.take(1 << 16)
    taken[0].bytes().zero_()
    floats(taken[0], IN).copy_(torch.arange(COUNT, dtype=torch.float32))
    torch.cuda.synchronize()
    yield taken
    for block in taken:
        blocks.give_back(block)


def floats(block: Block, zone: int, count: int = COUNT) -> torch.Tensor:
    return block.view(View("float32", zone, (count,), (1,)), zone)


def test_a_launch_writes_its_result_and_all_else_is_poison(runners, compiled, memory):
    execute(runners, program(compiled["double"], launch()), *memory)
    assert torch.equal(floats(memory[1], OUT), 2 * floats(memory[0], IN))
    behind = memory[1].bytes()[4 * COUNT :].view(torch.int32)
    assert (behind == 0x7FFDFFFE).all()


def test_movement_is_pytorch_s(runners, memory):
    x = View("float32", IN, (20, 50), (50, 1))
    turned = dataclasses.replace(x, shape=(50, 20), strides=(1, 50))
    backwards = View("float32", IN + 4 * 49, (20, 50), (50, -1))
    index = View("int64", OUT + 4096, (3,), (1,))
    place = [OUT + (8 << 10) * n for n in range(1, 7)]
    dense = [View("float32", address, (20, 50), (50, 1)) for address in place]
    steps = (
        Copy(turned, dataclasses.replace(dense[0], shape=(50, 20), strides=(20, 1)), 1),
        Copy(x, dataclasses.replace(dense[1], dtype="bfloat16"), 1),
        Copy(backwards, dense[2], 1),
        Upload(index.address, 24, 0, 1),
        Gather(x, index, 0, dataclasses.replace(dense[3], shape=(3, 50)), 1),
        Fill(dense[4], struct.unpack("<I", struct.pack("<f", -1.5))[0], 1),
    )
    blobs = struct.pack("<3q", 7, -1, 0)
    execute(runners, program(None, *steps, blobs=blobs), *memory)
    source = memory[0].view(x, IN)
    got = [memory[1].view(view, OUT) for view in dense]
    assert torch.equal(got[0].flatten().view(50, 20), source.t())
    assert torch.equal(got[1].flatten().view(torch.bfloat16)[:1000].view(20, 50), source.bfloat16())
    assert torch.equal(got[2], source.flip(1))
    assert torch.equal(got[3][:3], source[[7, 19, 0]])
    assert (got[4] == -1.5).all()


@pytest.mark.parametrize(
    "step",
    [launch(y=OUT + (1 << 33)), launch(x=IN + (1 << 33)), launch(y=IN)],
    ids=["writes elsewhere", "reads elsewhere", "writes to an argument"],
)
def test_what_is_not_the_call_s_own_is_not_there(runners, compiled, memory, step):
    lost = runners.lost
    with pytest.raises(RunnerFailure, match="ILLEGAL_ADDRESS") as failure:
        execute(runners, program(compiled["double"], step), *memory)
    assert failure.value.status is Status.RUNTIME_ERROR
    execute(runners, program(compiled["double"], launch()), *memory)  # the spare one
    assert runners.lost == lost + 1
    assert torch.equal(floats(memory[0], IN), torch.arange(COUNT, dtype=torch.float32).cuda())


def test_a_kernel_that_does_not_end_is_ended(runners, compiled, memory):
    with pytest.raises(RunnerFailure, match=r"did not finish within 0\.5 s") as failure:
        execute(runners, program(compiled["spin"], launch()), *memory, seconds=0.5)
    assert failure.value.status is Status.TIMEOUT
    execute(runners, program(compiled["double"], launch()), *memory)


def test_a_launch_that_is_none_costs_nobody_their_runner(runners, compiled, memory):
    lost = runners.lost
    short = dataclasses.replace(launch(), arguments=(Pointer(IN), Pointer(OUT)))
    with pytest.raises(RunnerFailure, match="takes parameters of"):
        execute(runners, program(compiled["double"], short), *memory)
    execute(runners, program(compiled["double"], launch()), *memory)
    assert runners.lost == lost


def test_times_are_of_the_steps_alone(runners, blocks, compiled, memory):
    count = 1 << 24
    big = blocks.take(4 * count), blocks.take(4 * count)
    big[0].bytes().zero_()
    torch.cuda.synchronize()
    found = {}
    with runners() as runner:
        for size in (1, count):
            what = program(compiled["double"], launch(count=size))
            run = Run(Part.CALL, big[0].memory, big[1].memory, 0xFFFFFFFF)
            runner.ask(Begin(what, None), (), 20.0)
            first = dataclasses.replace(run, part=Part.FIRST)
            runner.ask(Execute((first,)), big, 20.0)
            found[size] = runner.ask(TimeRuns((run,) * 24, 3), big, 20.0)
            runner.ask(End(), (), 20.0)
    small, large = (sorted(found[size]["device_us"])[10] for size in (1, count))
    assert 0 < small < large
    assert len(found[count]["wall_us"]) == len(found[count]["device_us"]) >= 20
    # The host's clock starts before the device's, and ends after it.
    both = zip(found[count]["wall_us"], found[count]["device_us"], strict=True)
    assert all(wall > told - 1.0 for wall, told in both)  # events tell half microseconds
    assert len(found[count]["beside_us"]) >= 7
    for block in big:
        blocks.give_back(block)


def test_shared_memory_of_an_answer_is_gone_before_the_next(runners, blocks, compiled):
    programs = 8 * torch.cuda.get_device_properties(0).multi_processor_count
    nbytes = 4 * 128 * programs
    taken = blocks.take(nbytes), blocks.take(nbytes)
    buffers = (Buffer(0, OUT, nbytes, BufferKind.SCRATCH, 0, 3),)
    arguments = (Pointer(IN), Pointer(OUT), Scalar("i32", programs))
    kernels = tuple(
        Kernel(n, "kernel", ("*fp32", "*fp32", "i32"), (), (), 4, 3, 1, False, False, 1)
        for n in range(2)
    )
    keep, find = (Launch(n, (programs, 1, 1), arguments, 0, 1) for n in range(2))
    artifacts = {0: compiled["keep"], 1: compiled["find"]}

    def found(*steps: Launch) -> float:
        what = Program(buffers, kernels, artifacts, (), steps, steps, b"")
        execute(runners, what, *taken)
        return float(floats(taken[1], OUT, 128 * programs).sum())

    assert found(keep, find) > 0  # within an answer it is there
    found(keep)
    assert found(find) == 0
    for block in taken:
        blocks.give_back(block)
