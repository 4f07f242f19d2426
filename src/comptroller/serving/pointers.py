"""Addresses in compiled code: where a thing stands, and calling what stands somewhere. Needs numba."""

from __future__ import annotations

from typing import Any

from comptroller.serving.jit import numba

types, cgutils = numba.core.types, numba.core.cgutils
ir = cgutils.ir


def _address_of(typing: Any, thing: Any) -> Any:
    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = arguments[0]
        if isinstance(thing, types.Array):
            place = context.make_array(thing)(context, builder, place).data
        return builder.ptrtoint(place, cgutils.intp_t)

    return types.intp(thing), make


def _pointer(typing: Any, address: Any) -> Any:
    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), make


def _call_at(typing: Any, address: Any, numbers: Any) -> Any:
    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = cgutils.unpack_tuple(builder, arguments[1], len(numbers))
        of = ir.FunctionType(ir.DoubleType(), [cgutils.intp_t] * len(numbers))
        return builder.call(builder.inttoptr(arguments[0], of.as_pointer()), given)

    return types.float64(types.intp, numbers), make


address_of: Any = numba.extending.intrinsic(_address_of)
"""Where an array or a record stands."""
pointer: Any = numba.extending.intrinsic(_pointer)
"""An address as `numba.carray` takes it."""
call_at: Any = numba.extending.intrinsic(_call_at)
"""What a function gives, a float64, that stands at an address and takes a tuple of whole numbers."""
