"""A user's own code, named by the path of its file or by a dotted path: strategies, policies, backends."""

from __future__ import annotations

import re
import sys
import traceback
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

from comptroller.errors import InputError, UnknownIdError

WRONG_CODE = (
    *(ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError),
    *(ArithmeticError, LookupError, OSError, RuntimeError, AssertionError),
)
"""What code that is being imported raises when it is wrong."""

_DIGEST = "__digest__"
"""Name under which the module of a file keeps the digest of the content that it was made of."""


def own_module(where: str) -> ModuleType | None:
    """The module of a path to a file or of a dotted path; `None` if neither exists.

    A file's module has its path for a name, so that what is defined there is found again by that name. A file whose
    content has changed since is read again; while it has not, its module is the same one.

    Raises:
        InputError: it cannot be read or imported; says where in the file, and why.
    """
    content = _content(where) if where.endswith(".py") else None
    if content is not None:
        return _module_of_file(where, content)
    if where and re.fullmatch(r"[\w.]+", where) and _is_importable(where):
        try:
            return import_module(where)
        except WRONG_CODE as error:
            raise InputError(_import_fault(where, error)) from error
    return None


def registry_stems(package: ModuleType) -> tuple[str, ...]:
    """Ids of a folder that is a registry: the stems of its files, sorted."""
    return tuple(sorted(path.stem for path in Path(str(package.__file__)).parent.glob("[a-z]*.py")))


@dataclass(frozen=True, slots=True)
class PlugInRegistry:
    """A folder whose files are named by what a user writes; a path or a dotted path names one of a user's own.

    package: the folder's dotted path.  kind: what such a file is called.  function: that it has to define.
    """

    package: str
    kind: str
    function: str

    def names(self) -> tuple[str, ...]:
        """Ids of the files that ship, sorted."""
        return _known_stems(self.package)

    def module(self, name: str) -> ModuleType:
        """A file by its id, by a path or by a dotted path.

        Raises:
            UnknownIdError: there is none.
            InputError: it has no such function.
        """
        is_shipped = name in self.names()
        found = import_module(f"{self.package}.{name}") if is_shipped else own_module(name)
        if found is None:
            raise UnknownIdError(self.kind, name, self.names())
        if not callable(getattr(found, self.function, None)):
            raise InputError(f"{self.kind} {name}: {found.__file__} has no function `{self.function}`")
        return found


@lru_cache(maxsize=64)
def _known_stems(package: str) -> tuple[str, ...]:
    return registry_stems(import_module(package))


def _content(path: str) -> bytes | None:
    """The bytes of a file; `None` if there is none of that path.

    Raises:
        InputError: it cannot be read; names it.
    """
    try:
        return Path(path).read_bytes() if Path(path).is_file() else None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'cannot be read'}") from error


def _module_of_file(path: str, content: bytes) -> ModuleType:
    known = sys.modules.get(path)
    digest = sha256(content).hexdigest()
    if known is not None and getattr(known, _DIGEST, None) == digest:
        return known
    module = ModuleType(path)
    vars(module).update({"__file__": path, _DIGEST: digest})
    # Dataclasses look their module up by its name while they are made.
    sys.modules[path] = module
    try:
        # Future statements of this file are not those of the user's.
        exec(compile(content, path, "exec", dont_inherit=True), vars(module))
    except WRONG_CODE as error:
        del sys.modules[path]
        raise InputError(_import_fault(path, error)) from error
    return module


def own_fault(error: BaseException) -> str | None:
    """Where in a user's own file an exception arose, and what it is; `None` if it did not arise in one."""
    own = {str(Path(name).resolve()): name for name in sys.modules if name.endswith(".py")}
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if str(Path(frame.filename).resolve()) in own), None)
    if last is None:
        return None
    return _sentence(own[str(Path(last.filename).resolve())], last.lineno, error)


def _import_fault(where: str, error: BaseException) -> str:
    """What was wrong in code that could not be imported, at the last of its own lines."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.endswith(where)]
    line = error.lineno if isinstance(error, SyntaxError) else own[-1].lineno if own else None
    return _sentence(where, line, error)


def _sentence(where: str, line: int | None, error: BaseException) -> str:
    place = f"line {line}: " if line else ""
    return f"{where}: {place}{type(error).__name__}: {error}"


def _is_importable(name: str) -> bool:
    try:
        return util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):
        return False
