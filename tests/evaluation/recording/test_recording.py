"""Answers in ordinary styles become plans; what PyTorch would compute is refused where it matters."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from triton_gym.evaluation.plan.messages import EntryKind
from triton_gym.evaluation.plan.step import (
    Copy,
    Descriptor,
    Fill,
    Launch,
    Pointer,
    Read,
    Scalar,
    Synchronize,
    Upload,
)
from triton_gym.evaluation.plan.value import DeviceTensor, Plain, Sequence, Table
from triton_gym.evaluation.plan.window import ARGUMENTS, SCRATCH
from triton_gym.evaluation.recording.session import CaseEntangled
from triton_gym.evaluation.workers.session import Ended

KERNEL = """
import torch, triton, triton.language as tl

@triton.jit
def scale(y, x, n, factor, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) * factor, mask=i < n)
"""
LAUNCH = "scale[(triton.cdiv(x.numel(), 128),)](y, x, x.numel(), 2.0, BLOCK=128)"


def answer(*lines, before="", after=f"{LAUNCH}; return y"):
    body = "\n".join(f"    {line}" for line in (*lines, after))
    return f"{KERNEL}{before}\ndef f(x):\n    y = torch.empty_like(x)\n{body}\n"


def x():
    return torch.arange(12 * 16, dtype=torch.float32).view(12, 16)


def launches(call):
    return [step for step in call.steps if isinstance(step, Launch)]


def test_a_launch_is_written_down_as_triton_makes_it(recordings):
    plan = recordings.plan(answer(), "f", x())
    (step,) = plan.call.steps
    kernel = plan.kernels[step.kernel]
    assert step.grid == (2, 1, 1)
    assert step.arguments == (
        Pointer(SCRATCH.start), Pointer(ARGUMENTS.start), Scalar("i32", 192),
        Scalar("fp32", 0x40000000),
    )  # fmt: skip
    assert kernel.name == "scale"
    assert kernel.signature == ("*fp32", "*fp32", "i32", "fp32")
    assert kernel.constants == (("4", "128"),)
    assert (kernel.num_warps, kernel.num_ctas, kernel.cooperative) == (4, 1, False)
    assert "divisibility" in dict(kernel.attrs)["0"]
    assert kernel.line == 4
    assert step.line == 11
    assert isinstance(plan.call.result, DeviceTensor)
    assert plan.call.result.view.address == SCRATCH.start
    assert plan.first == plan.call
    assert plan.setup == ()


STYLES = {
    "grid_function": (answer(after="scale[lambda m: (triton.cdiv(x.numel(), m['BLOCK']),)]"
                                   "(y, x, x.numel(), 2.0, BLOCK=128); return y")),
    "run": answer(after="scale.run(y, x, x.numel(), 2.0, 128, grid=(2, 1, 1), warmup=False); "
                        "return y"),
    "compiled": answer("compiled = scale.warmup(y, x, x.numel(), 2.0, BLOCK=128, grid=(1,))",
                       "compiled._init_handles()",
                       "assert compiled.n_regs > 0 and 'ptx' in compiled.asm",
                       after="compiled[(2, 1, 1)](y, x, x.numel(), 2.0, 128); return y"),
    "cooperative": answer(after=LAUNCH.replace("=128)", "=128, launch_cooperative_grid=True, "
                                               "launch_pdl=True, num_ctas=2)") + "; return y"),
    "heuristics": answer(
        after="other[(1,)](y, x, x.numel(), 2.0); return y",
        before="other = triton.heuristics({'BLOCK': lambda a: triton.next_power_of_2(a['n'])})"
               "(scale)"),
    "method": answer(after="Op.kernel[(2,)](y, x, x.numel(), 2.0, BLOCK=128); return y",
                     before="class Op:\n    kernel = staticmethod(scale)"),
    "operator": answer(
        after="return op(x)",
        before="from torch.library import triton_op, wrap_triton\n"
               "@triton_op('styles::scale', mutates_args={})\n"
               "def op(x: torch.Tensor) -> torch.Tensor:\n    y = torch.empty_like(x)\n"
               f"    wrap_triton(scale){LAUNCH[5:]}; return y"),
    "bare_wrap": answer(after=f"wrap_triton(scale){LAUNCH[5:]}; return y",
                        before="from torch.library import wrap_triton"),
    "compiled_function": answer(
        after="return g(x, y)", before=f"@torch.compile\ndef g(x, y):\n    {LAUNCH}; return y"),
    "streams": answer(
        "s = torch.cuda.Stream(); s.wait_stream(torch.cuda.current_stream())",
        "e = torch.cuda.Event(); e.record(); e.synchronize(); torch.cuda.synchronize()",
        "with torch.cuda.device(x.device), torch.cuda._DeviceGuard(0), torch.cuda.stream(s):",
        "    x.record_stream(s)",
        "assert isinstance(s, torch.cuda.Stream)"),
    "properties": answer(
        "p = torch.cuda.get_device_properties(x.device)",
        "assert p.multi_processor_count == 132 and torch.cuda.get_device_capability() == (9, 0)",
        "assert torch.cuda.is_available() and x.get_device() == 0 and x.is_cuda",
        "assert torch.cuda.mem_get_info()[0] > 0 and torch.version.cuda"),
    "dead_arithmetic": answer(
        "ref = torch.softmax(x, 1); z = (x + 1).sum() * 2; print(x, ref)",
        "torch.add(x, x, out=torch.empty_like(x)); x.max(1); x.sort()"),
    "autocast": answer(
        "with torch.autocast('cuda', torch.float16):",
        "    assert torch.is_autocast_enabled('cuda')",
        "    assert torch.get_autocast_dtype('cuda') == torch.float16"),
    "layers": answer(
        "import copy; layer = torch.nn.Linear(4, 8, device='cuda'); copy.deepcopy(layer)",
        "layer.load_state_dict(torch.nn.Linear(4, 8).cuda().state_dict())",
        "torch.nn.Parameter(torch.randn(4, device='cuda')); torch.nn.Conv2d(3, 4, 3).cuda().half()"),
    "devices": answer(
        "torch.empty(3, device=0); x.to(0); x.cuda(0); torch.nn.Linear(2, 2).to(0)",
        "with torch.device('cuda'): assert torch.empty(3).is_cuda"),
    "threads": answer(
        "import concurrent.futures as futures",
        f"g = lambda: (torch.zeros(3, device=x.device), {LAUNCH})",
        after="futures.ThreadPoolExecutor(1).submit(g).result(); return y"),
    "old_library": answer(
        after="return torch.ops.old.scale(x)",
        before="library = torch.library.Library('old', 'DEF')\n"
               "library.define('scale(Tensor x) -> Tensor')\n"
               "@torch.library.impl(library, 'scale', 'CUDA')\n"
               f"def _(x):\n    y = torch.empty_like(x); {LAUNCH}; return y"),
    "self_test": answer() + "\nx = torch.randn(4, 8, device='cuda'); y = f(x); print(y)\n"
                            "assert torch.allclose(y, x * 2), 'bad'\nraise SystemExit\n",
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_ordinary_styles_are_recorded(recordings, style):
    plan = recordings.plan(STYLES[style], "f", x())
    assert len(launches(plan.call)) == 1
    assert plan.first == plan.call
    assert plan.setup == ()


def test_backward_passes_are_recorded(recordings):
    source = (
        KERNEL
        + f"""
class Scale(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda")
    def forward(ctx, x):
        y = torch.empty_like(x); ctx.save_for_backward(x); {LAUNCH}; return y
    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        y = torch.empty_like(x); {LAUNCH.replace("(y, x,", "(y, g.contiguous(),")}; return y
def f(x):
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        Scale.apply(leaf).backward(torch.ones_like(x))
        (again,) = torch.autograd.grad(Scale.apply(leaf).t(), leaf, torch.ones_like(x).t())
    return leaf.grad, again
"""
    )
    plan = recordings.plan(source, "f", x())
    assert len(launches(plan.call)) == 4
    gradient = launches(plan.call)[1]
    assert plan.call.result.items[0].view.address == gradient.arguments[0].address


def test_graphs_do_what_they_captured_when_they_are_replayed(recordings):
    source = answer(
        "graph = torch.cuda.CUDAGraph()",
        f"with torch.cuda.graph(graph): w = x.t().contiguous(); {LAUNCH.replace('x, x', 'w, x')}",
        after="graph.replay(); graph.replay(); return y",
    )
    steps = recordings.plan(source, "f", x()).call.steps
    assert [type(s) for s in steps if not isinstance(s, Synchronize)] == [Copy, Launch] * 2


def test_options_of_a_launch_are_the_kernels(recordings):
    kernel = recordings.plan(STYLES["cooperative"], "f", x()).kernels[0]
    assert kernel.cooperative
    assert kernel.pdl
    assert kernel.num_ctas == 2


def test_descriptors_and_tables_of_pointers(recordings):
    source = (
        KERNEL
        + """
from triton.tools.tensor_descriptor import TensorDescriptor
@triton.jit
def by_descriptor(y, x):
    y.store([0, 0], x.load([0, 0]))
@triton.jit
def by_table(table, y):
    x = tl.load(table).to(tl.pointer_type(tl.float32)); i = tl.arange(0, 16)
    tl.store(y + i, tl.load(x + i))
@triton.jit
def on_device(y, x, M, N):
    d = tl.make_tensor_descriptor(x, [M, N], [N, 1], [4, 16])
    tl.make_tensor_descriptor(y, [M, N], [N, 1], [4, 16]).store([0, 0], d.load([0, 0]))
def f(x):
    y = torch.empty_like(x)
    of = lambda t: TensorDescriptor.from_tensor(t, [4, 16])
    by_descriptor[(3,)](of(y), of(x))
    by_table[(1,)](torch.tensor([x.data_ptr()], dtype=torch.int64, device=x.device), y)
    triton.set_allocator(lambda n, align, stream: torch.empty(n, device="cuda", dtype=torch.int8))
    on_device[(3,)](y, x, 12, 16)
    return y
"""
    )
    plan = recordings.plan(source, "f", x())
    first, second, third = launches(plan.call)
    assert first.arguments[1] == Descriptor(
        ARGUMENTS.start, "fp32", (12, 16), (16, 1), (4, 16), False, False
    )
    (upload,) = [step for step in plan.call.steps if isinstance(step, Upload)]
    assert second.arguments[0] == Pointer(upload.address)
    assert third.global_scratch in range(SCRATCH.start, SCRATCH.end)


def test_memory_that_a_kernel_finds_through_a_table_is_there_and_may_change(recordings):
    source = (
        KERNEL
        + """
@triton.jit
def by_table(table):
    x = tl.load(table).to(tl.pointer_type(tl.float32))
    y = tl.load(table + 1).to(tl.pointer_type(tl.float32))
    tl.store(y, tl.load(x))
def f(x):
    constant = torch.tensor([3.0], device=x.device)
    y = torch.zeros(1, device=x.device)
    table = torch.tensor([constant.data_ptr(), y.data_ptr()], device=x.device)
    by_table[(1,)](table)
    return y.clone()
"""
    )
    plan = recordings.plan(source, "f", x())
    kinds = [type(step) for step in plan.call.steps]
    assert kinds == [Fill, Upload, Upload, Launch, Copy]
    assert {step.nbytes for step in plan.call.steps if isinstance(step, Upload)} == {4, 16}


MOVEMENT = {
    "transposed": "x.t().contiguous()",
    "reshaped": "x.t().reshape(-1)",
    "expanded": "x[:, None].expand(12, 2, 16).reshape(12, 32)",
    "joined": "torch.cat([x, x[:5]]), torch.stack([x, x], 1), torch.hstack([x, x])",
    "padded": "F.pad(x, (1, 2, 3, 0), value=2.5), F.pad(x, (-1, 2))",
    "repeated": "x.repeat(2, 1, 3), x.tile(2), torch.repeat_interleave(x, 3, 1)",
    "flipped": "x.flip(0), x[:, 2:9].flip(1, 0), x.roll(3, 1), torch.rot90(x)",
    "rolled": "x.roll((5, -3), (0, 1)), x.roll(7), x.t().roll(-1, 0), x.roll((1, 2), (1, 1)), x.roll(12, 0), "
              "torch.rot90(x, 2), torch.rot90(x, -1, (1, 0)), torch.rot90(x[:, :4], 3), x.rot90(4), "
              "torch.narrow_copy(x, 1, -3, 2), torch.zeros(0, 3, device=x.device).roll(1, 0)",
    "indexed": "x[torch.arange(3, device=x.device)], x[:, [2, 0]], x[torch.tensor([[1, 2], [3, 4]], device=x.device)], "
               "x.index_select(1, torch.tensor([5, 4], device=x.device)), x[[0, 1], [2, 3]], "
               "x[torch.arange(12, device=x.device) % 3 == 0]",
    "converted": "x.half(), x.to(torch.bfloat16).float(), x.int(), x.to(torch.float64)",
    "filled": "torch.full_like(x, 2), torch.zeros(3, device=x.device), x.new_ones(2, 2), "
              "torch.ones(4, device=x.device, dtype=torch.bfloat16)",
    "constant": "torch.arange(4, device=x.device) * 2 + 1, torch.eye(3, device=x.device), "
                "torch.tensor([1, 2], device=x.device), torch.ones(3).cuda()",
    "diagonal": "torch.diagonal(x).clone(), x.unfold(1, 4, 2).contiguous(), x.view(torch.int32)",
    "in_place": "put(x), x.clone().t_(), torch.empty(2, device=x.device).resize_(4, 4).fill_(3)",
    "out": "torch.cat([x, x], out=torch.empty(24, 16, device=x.device))",
    "triangle": "torch.ones(4, 4, device=x.device).tril()",
}  # fmt: skip
MOVE = """
import torch, torch.nn.functional as F
def put(x):
    y = torch.zeros_like(x); y[2:4] = x[:2]; y[:, 3] = 7; y[0].copy_(x[1]); y[5:, ::2] = 1
    return y
def f(x):
    return ({},)
"""


@pytest.mark.parametrize("kind", MOVEMENT)
def test_movement_moves_what_pytorch_moves(recordings, kind):
    namespace: dict = {}
    exec(MOVE.format(MOVEMENT[kind]).replace(".cuda()", ""), namespace)
    expected = namespace["f"](x())
    with recordings.session(MOVE.format(MOVEMENT[kind]), "f") as session:
        plan = recordings.record(session, x())
        found = recordings.moved(plan, session.blobs, x())
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == tuple(other.shape)
        assert (one.astype(float) == other.double().numpy()).all(), kind


@pytest.mark.parametrize(
    ("source", "operator", "line", "use"),
    [
        (answer("x = x * 2"), "mul", 11, "a kernel"),
        (answer(after=f"{LAUNCH}; return torch.softmax(y, 1)"), "_softmax", 11, "the result"),
        (answer("if x.sum() > 0: pass"), "sum", 11, "looks at its values"),
        (answer("z = (x + 1).t().contiguous()", "x = torch.cat([z, z])"), "add", 11, "a kernel"),
        (answer("x = x.clone()", "x += 1"), "add_", 12, "a kernel"),
    ],
)
def test_arithmetic_that_matters_is_refused_by_name(recordings, source, operator, line, use):
    with pytest.raises(Ended) as end:
        recordings.plan(source, "f", x())
    assert end.value.status == "rejected"
    assert f"({operator})" in end.value.message
    assert f"line {line} " in end.value.message
    assert use in end.value.message


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        (answer(), "compile_error", "named 'g'; it defines scale, f"),
        (answer().replace("tl.load", "tl.lood"), "compile_error", "lood"),
        (answer("raise SystemExit(3)"), "runtime_error", "SystemExit"),
        (
            answer(after=LAUNCH.replace("triton.cdiv(x.numel(), 128)", "x.numel() / 96")),
            "runtime_error",
            "integers; got 2.0",
        ),
        (answer("y = torch.empty(12, 16)"), "runtime_error", "cpu tensor"),
        (answer("torch.empty(1 << 40, device='cuda')"), "runtime_error", "out of memory"),
        (answer("torch.cat([x] * 9).cpu()"), "rejected", "4096"),
        (
            answer(
                "v = x[0].tolist(); torch.tensor(v * 70, device='cuda').fill_(1)",
                "x = torch.tensor(v * 70, device='cuda')",
            ),
            "rejected",
            "4096",
        ),
        (answer(before="import nothing_of_the_kind"), "compile_error", "nothing_of_the_kind"),
        (answer("import os; os._exit(0)"), "runtime_error", "ended early"),
    ],
)
def test_failures_say_what_went_wrong(recordings, source, status, told):
    with pytest.raises(Ended) as end:
        recordings.plan(source, "g" if "named" in told else "f", x())
    assert end.value.status == status
    assert told in end.value.message


def test_autotuning_takes_what_the_judge_finds_fastest(recordings):
    configs = "[triton.Config({'BLOCK': b}) for b in (32, 64, 128)]"
    source = answer(
        after="tuned[lambda m: (triton.cdiv(192, m['BLOCK']),)](y, x, 192, 2.0); return y",
        before=f"tuned = triton.autotune({configs}, key=['n'], restore_value=['x'], "
               "reset_to_zero=['y'])(scale)",
    )  # fmt: skip
    services = recordings.services(seconds={0: math.inf, 1: 3.0, 2: 2.0})
    plan = recordings.plan(source, "f", x(), services=services)
    (question,) = services.timed
    assert [len(steps) for steps in question.alternatives] == [4, 4, 4]
    assert launches(plan.call)[0].grid == (2, 1, 1)
    assert len(plan.first.steps) > len(plan.call.steps)  # resets `y` once more when it has chosen
    assert len(plan.kernels) == 1


def test_what_host_code_times_itself_is_timed_by_the_judge(recordings):
    source = answer(
        f"run = lambda: {LAUNCH}",
        "a, b = (torch.cuda.Event(enable_timing=True) for _ in 'ab')",
        "a.record(); run(); run(); b.record(); assert a.elapsed_time(b) == 1000",
        "assert triton.testing.do_bench(run) == 1000",
    )
    services = recordings.services()
    plan = recordings.plan(source, "f", x(), services=services)
    assert [len(q.alternatives[0]) for q in services.timed] == [2, 1, 2, 1]
    assert len(launches(plan.call)) == 3


def test_values_are_looked_at_by_whoever_has_them(recordings):
    source = answer("n = int(x[0, 1]); rows = x[1, :2].tolist(); assert n == 5 and rows == [5, 0]")
    services = recordings.services(torch.tensor([5.0]).numpy().tobytes())
    with recordings.session(source, "f", services=services) as session:
        plan = recordings.record(session, x())
        reads = [step for step in plan.call.steps if isinstance(step, Read)]
        assert [(r.address - ARGUMENTS.start, r.nbytes) for r in reads] == [(4, 4), (64, 8)]
        assert session.blobs.read(reads[1].offset, 8) == services.values + bytes(4)
    assert [len(look.so_far.steps) for look in services.looks] == [0, 1, 0, 1]
    assert plan.call.reads


def test_a_host_that_remembers_results_shows_it(recordings):
    source = answer(
        "if 'y' in kept: return kept['y']", "kept['y'] = y", before="kept = {}"
    )  # fmt: skip
    plan = recordings.plan(source, "f", x())
    assert len(launches(plan.first)) == 1
    assert not plan.call.steps


def test_results_of_every_kind(recordings):
    source = answer(after="return {'a': y, 'b': (None, 3, 2.5, True), 'c': [torch.ones(2)]}")
    with recordings.session(source, "f") as session:
        result = recordings.record(session, x()).call.result
        assert isinstance(result, Table)
        tensor, plain, host = result.items
        assert isinstance(tensor, DeviceTensor)
        assert isinstance(plain, Sequence)
        assert [Plain.of(v) for v in (None, 3, 2.5, True)] == list(plain.items)
        (ones,) = host.items
        assert session.blobs.read(ones.offset, 8) == torch.ones(2).numpy().tobytes()


MODULE = (
    KERNEL
    + """
class Model(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.linear = torch.nn.Linear(size, size)
        self.register_buffer("shift", torch.ones(size))
        self.folded = None
    def forward(self, x):
        if self.folded is None:
            self.folded = (self.linear.weight * 2 + self.shift).t().contiguous()
        y = torch.empty_like(x)
        scale[(1,)](y, self.folded, x.numel(), 2.0, BLOCK=128)
        scale[(1,)](y, self.linear.weight, x.numel(), 2.0, BLOCK=128)
        return y
"""
)


def test_modules_have_the_references_state_and_may_prepare_it(recordings):
    class Reference(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)
            self.register_buffer("shift", torch.full((4,), 3.0))

    reference = Reference()
    with recordings.session(MODULE, "Model", EntryKind.MODULE) as session:
        built = recordings.build(session, reference, (4,))
        plan = recordings.record(session, x())
        (upload,) = [step for step in plan.first.steps if isinstance(step, Upload)]
        folded = session.blobs.read(upload.offset, upload.nbytes)
    assert built.missing == ()
    expected = (reference.linear.weight * 2 + 3).t().contiguous()
    assert folded == expected.detach().numpy().tobytes()
    assert [type(step) for step in plan.setup] == [Copy] * 3
    assert [type(step) for step in plan.call.steps] == [Launch, Launch]


def test_cases_share_a_session_unless_memory_connects_them(recordings):
    with recordings.session(answer(), "f") as session:
        small, large = (recordings.record(session, torch.empty(n)) for n in (100, 4000))
        assert small.call.steps[0].grid != large.call.steps[0].grid
    keeps = answer("global work", "work = y if work is None else work",
                   before="work = None").replace("y, x, x.numel()", "work, x, x.numel()")  # fmt: skip
    with recordings.session(keeps, "f") as session:
        recordings.record(session, x())
        with pytest.raises(CaseEntangled):
            recordings.record(session, x())


def test_what_the_import_prepared_is_setup(recordings):
    source = answer("torch.add", after=f"{LAUNCH.replace('x, x', 'table, x')}; return y",
                    before="table = torch.full((192,), 2.0, device='cuda')")  # fmt: skip
    plan = recordings.plan(source, "f", x())
    assert [type(step) for step in plan.setup] == [Fill]
    assert launches(plan.call)[0].arguments[1] == Pointer(plan.setup[0].dst.address)


def test_memory_is_given_out_again(recordings):
    source = answer("for _ in range(50):", "    y = torch.zeros_like(x)")
    plan = recordings.plan(source, "f", x())
    assert len({step.dst.address for step in plan.call.steps if isinstance(step, Fill)}) == 2
    assert plan.scratch_end - SCRATCH.start < 8192


def test_waits_are_steps(recordings):
    plan = recordings.plan(answer("torch.cuda.synchronize()"), "f", x())
    assert any(isinstance(step, Synchronize) for step in plan.call.steps)
    assert dataclasses.astuple(plan.call.steps[0]) == (11,)


FORGED = """
import json, os, socket, stat, struct
def f(x):
    body = {body}
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.write(fd, struct.pack("!I", len(body)) + body)
        except OSError:
            pass
    while True:
        pass
"""


def returning(result):
    call = f'["Call", [], {result}]'
    return f'{{"message": ["Recorded", ["Plan", [], [], [], {call}, {call}, 0]]}}'


MESSAGES = {
    "nothing": "{}",
    "no_message": '{"message": 7}',
    "another": '{"message": ["Timed", [1.0]]}',
    "out_of_turn": '{"message": ["Built", []]}',
    "memory_of_nobody": returning(
        f'["DeviceTensor", ["View", "float32", {SCRATCH.start}, [4], [1]], false]'
    ),
    "blobs_of_nobody": returning('["HostTensor", "float32", [4], 0]'),
    "kernel_of_nobody": '{"message": ["Await", 3, false]}',
    "look_elsewhere": '{"message": ["Look", ["Partial", [], [], [], [["Fill", ["View", "int8", '
    '52776558133248, [4], [1]], 0, 1]], 0], 52776558133248, 4, 1]}',
    "nested": '{"message": ' + "[" * 5000 + "]" * 5000 + "}",
}  # fmt: skip


@pytest.mark.parametrize("kind", MESSAGES)
def test_forged_messages_are_found_out(recordings, kind):
    source = FORGED.format(body=repr(MESSAGES[kind].encode()))
    with pytest.raises(Ended) as end:
        recordings.plan(source, "f", x())
    assert end.value.status == "cheating"
    assert "forged" in end.value.message


def test_recorders_have_no_device_file_of_a_gpu(monkeypatch):
    from triton_gym.evaluation.confine import places

    monkeypatch.setattr(places.os.path, "exists", lambda path: True)
    found = [path for path, _ in places.devices()]
    assert "/dev/null" in found
    assert not any("nvidia" in path or "dxg" in path or "*" in path for path in found)
