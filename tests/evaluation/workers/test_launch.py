"""What of launching needs no GPU."""

from __future__ import annotations

import subprocess
import sys

BUILD = r"""
from triton.runtime import build
from triton_gym.evaluation.workers.launch import build_quickly

SOURCE = '''
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "NAME", 0, -1, 0};
PyMODINIT_FUNC PyInit_NAME(void) {
    PyObject *made = PyModule_Create(&module);
    PyModule_AddIntConstant(made, "optimised",
#ifdef __OPTIMIZE__
        1
#else
        0
#endif
    );
    return made;
}
'''

def optimised(name):
    return build.compile_module_from_src(SOURCE.replace("NAME", name), name).optimised

assert optimised("before") == 1
build_quickly()
assert optimised("after") == 0
"""


def test_host_code_is_built_without_optimisation(tmp_path):
    """In a process of its own: it is changed for good."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD], env={"TRITON_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
