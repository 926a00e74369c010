"""The C library from Python's ctypes, without a compiler: the value of J in a run, and its sensitivity.

    cargo xtask capi
    python3 crates/capi/examples/patch.py target/capi/libresolvent.so

Arguments: the shared library, a model and a device. For Python itself, the package `resolvent` is better.
"""

import ctypes
import sys
from ctypes import byref, c_char_p, c_double, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p


class Options(ctypes.Structure):
    """`resolvent_options`, with the fields of the header in its order."""

    _fields_ = [
        ("size", c_size_t),
        ("device", c_char_p),
        ("cache", c_char_p),
        ("batch_bytes", c_uint64),
        ("threads", c_uint32),
        ("f16_weights", c_int),
        ("f16_inputs", c_int),
    ]


library = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else "target/capi/libresolvent.so")
library.resolvent_last_error.restype = c_char_p
library.resolvent_version.restype = c_char_p


def call(function, *arguments):
    """Calls a function, and raises its message if it fails."""
    if function(*arguments) != 0:
        raise RuntimeError(library.resolvent_last_error().decode())


def copied(element, function, *arguments):
    """Asks for a length, and copies as many elements."""
    length = c_size_t()
    call(function, *arguments, None, c_size_t(0), byref(length))
    buffer = (element * length.value)()
    call(function, *arguments, buffer, length, None)
    return buffer


model, run, result = c_void_p(), c_void_p(), c_void_p()
name = (sys.argv[2] if len(sys.argv) > 2 else "atlas-nano").encode()
device = (sys.argv[3] if len(sys.argv) > 3 else "host").encode()
options = Options(size=ctypes.sizeof(Options), device=device)
call(library.resolvent_model_open, name, byref(options), None, byref(model))

prompt = "When Mary and John went to the store, Mary gave a drink to".encode()
tokens = copied(c_uint32, library.resolvent_model_encode, model, prompt)
call(library.resolvent_model_run, model, tokens, c_size_t(len(tokens)), None, c_size_t(0), None, byref(run))

j = b'logit(" Mary") - logit(" John")'
value = c_double()
call(library.resolvent_run_value, run, j, None, byref(value))
print(f"J = {value.value:.6g}, by resolvent {library.resolvent_version().decode()}")

call(library.resolvent_run_sensitivity, run, j, None, byref(result))
levels, count = copied(c_size_t, library.resolvent_result_shape, result, b"norm")
norm = copied(c_float, library.resolvent_result_array, result, b"norm")
for level in range(levels):
    print(" ".join(f"{x:9.5f}" for x in norm[level * count : (level + 1) * count]))

try:
    call(library.resolvent_run_value, run, b"logit(", None, byref(value))
except RuntimeError as error:
    print(f"refused: {error}")

for free, handle in [
    (library.resolvent_result_free, result),
    (library.resolvent_run_free, run),
    (library.resolvent_model_free, model),
]:
    free.argtypes, free.restype = [c_void_p], None
    free(handle)
