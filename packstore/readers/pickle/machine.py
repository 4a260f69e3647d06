"""A pickle's opcodes run on symbols: nothing is imported, called or instantiated.

Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py. Plain values (numbers, short texts, tuples,
lists, dicts) come out as themselves, long ones as a :class:`Blob` that says where in the file they are, and everything
else as a :class:`Call` or :class:`Global`, which ``_pickle_numpy.py`` recognises as an array or names in a refusal.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import IO, Any, ClassVar, cast

from packstore.errors import FormatError, TruncatedFileError, UnsupportedError, message
from packstore.readers.pickle.values import MAX_TEXT_NBYTES, Blob, Call, Cursor, Global, Opaque, Pairs, ShortText
from packstore.source import ByteSpace

__all__ = ["parses", "run"]

MAX_OPCODES = 5_000_000
# Functions of numpy's and of codecs, which have no instances.
_MAKERS = frozenset({"_reconstruct", "scalar", "_frombuffer", "encode"})
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


class _Mark:
    pass


_MARK = _Mark()


def run(
    space: ByteSpace, path: str, start: int = 0, *, after_build: Callable[[Call, Cursor], None] | None = None
) -> tuple[Any, int]:
    """Run one pickle.

    Parameters
    ----------
    space
        The bytes; only the opcodes and short arguments are read.
    start
        Where the pickle starts.
    after_build
        Called after each BUILD of a `Call`; may move the cursor over bytes that are no opcodes (joblib's arrays).

    Returns
    -------
    value, end
        The symbolic value, and the offset after STOP.

    Raises
    ------
    TruncatedFileError
        The file ends before STOP.
    FormatError
        No pickle.
    UnsupportedError
        More than five million opcodes.
    """
    machine = _Machine(Cursor(space, start), path, after_build)
    try:
        return machine.run(), machine.cursor.position
    except EOFError:
        raise TruncatedFileError(
            message("reading the pickle", path, expected="a STOP opcode", got="the end of the file")
        ) from None
    except (
        IndexError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        UnicodeError,
        struct.error,
        RecursionError,
    ) as error:
        if isinstance(error, FormatError):
            raise
        # An empty stack, an unknown memo key, an argument that does not parse: all that a wrong byte can do.
        raise FormatError(
            message(
                "reading the pickle",
                path,
                expected="an opcode that makes sense",
                got=f"{machine.opcode} at {machine.at} ({type(error).__name__}: {error})",
            )
        ) from None


class _Machine:
    """Stack and memo of one pickle."""

    def __init__(self, cursor: Cursor, path: str, after_build: Callable[[Call, Cursor], None] | None) -> None:
        self.cursor = cursor
        self.path = path
        self.after_build = after_build
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.opcode = "nothing"
        self.at = cursor.position
        self.frame_end = 0

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            self.at = self.cursor.position
            code = self.cursor.read(1).decode("latin-1")
            info = _OPCODES.get(code)
            if info is None:
                raise ValueError(f"byte {ord(code):#04x}")
            self.opcode = info.name
            if self.opcode == "STOP":
                value = self.stack.pop()
                if value is _MARK:
                    raise ValueError("a mark as the value")
                return value
            if self.opcode in self.LENGTHS:
                self.long_argument(self.LENGTHS[self.opcode])
                continue
            if self.opcode in ("UNICODE", "STRING"):
                self.line_argument()
                continue
            if self.opcode in ("GLOBAL", "INST", "PERSID"):
                self.names_argument()
                continue
            # The readers of pickletools only call read and readline.
            argument = info.arg.reader(cast(IO[bytes], self.cursor)) if info.arg is not None else None
            handler = self.HANDLERS.get(self.opcode)
            if handler is not None:
                handler(self, argument)
            elif argument is not None and self.opcode in self.VALUES:
                self.stack.append(argument)
            else:
                raise ValueError("an opcode of no known protocol")
        raise UnsupportedError(
            message("reading the pickle", self.path, expected=f"at most {MAX_OPCODES} opcodes", got="more")
        )

    # -- arguments that may be array data ---------------------------------------------------------------------------

    # Opcode: bytes of the length field, and what the bytes are.
    LENGTHS: ClassVar[dict[str, tuple[int, str]]] = {
        "SHORT_BINBYTES": (1, "bytes"),
        "BINBYTES": (4, "bytes"),
        "BINBYTES8": (8, "bytes"),
        "BYTEARRAY8": (8, "bytes"),
        "SHORT_BINSTRING": (1, "old"),
        "BINSTRING": (4, "old"),
        "SHORT_BINUNICODE": (1, "text"),
        "BINUNICODE": (4, "text"),
        "BINUNICODE8": (8, "text"),
    }
    VALUES: ClassVar[frozenset[str]] = frozenset(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
    )

    def long_argument(self, kind: tuple[int, str]) -> None:
        width, what = kind
        nbytes = int.from_bytes(self.cursor.read(width), "little")
        if what == "text" and nbytes <= MAX_TEXT_NBYTES:
            self.stack.append(ShortText(self.cursor.read(nbytes).decode("utf-8", "surrogatepass"), self.cursor, nbytes))
        else:
            self.stack.append(
                Blob(self.cursor.skip(nbytes), nbytes, "utf-8" if what == "text" else "raw", what == "old")
            )

    def line_argument(self) -> None:
        start, nbytes = self.cursor.line()
        if self.opcode == "STRING":
            self.stack.append(Blob(start, nbytes, "repr", True))
        elif nbytes <= MAX_TEXT_NBYTES:
            raw = bytes(self.cursor.space.pread(start, nbytes))
            text = raw.decode("raw-unicode-escape")
            self.stack.append(ShortText(text, self.cursor, nbytes, start, "raw-unicode-escape"))
        else:
            self.stack.append(Blob(start, nbytes, "raw-unicode-escape"))

    def names_argument(self) -> None:
        # Not by pickletools, which undoes escapes in names, unlike pickle, and warns of those it does not know.
        lines = [self.cursor.readline()[:-1].decode("utf-8") for _ in range(1 if self.opcode == "PERSID" else 2)]
        if self.opcode == "GLOBAL":
            self.push(Global(*lines))
        elif self.opcode == "INST":
            self.call(Global(*lines), tuple(self.pop_mark()))
        else:
            self.push(Opaque("a persistent id, which another file holds"))

    # -- opcodes ----------------------------------------------------------------------------------------------------

    def protocol(self, number: int) -> None:
        if number > pickle.HIGHEST_PROTOCOL:
            raise ValueError(f"protocol {number}")

    def frame(self, nbytes: int) -> None:
        if self.cursor.position < self.frame_end:
            raise ValueError("a frame inside another")
        self.frame_end = self.cursor.position + nbytes
        if self.frame_end > self.cursor.space.nbytes:
            raise EOFError

    def pop_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise IndexError("no mark")

    def pop(self, count: int = 1) -> list[Any]:
        if len(self.stack) < count or any(v is _MARK for v in self.stack[-count:]):
            raise IndexError(f"fewer than {count} values")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise IndexError("no value")
        return self.stack[-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def put(self, key: int | None) -> None:
        self.memo[len(self.memo) if key is None else key] = self.top()

    def append(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif not takes_items(target):
            raise TypeError(f"items for a {type(target).__name__}")

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if len(items) % 2:
            raise ValueError("a key without a value")
        pairs = list(zip(items[::2], items[1::2], strict=True))
        in_collections = (
            isinstance(target, Call) and isinstance(target.func, Global) and target.func.module == "collections"
        )
        if isinstance(target, Pairs) or in_collections:
            target.items += pairs
        elif not takes_items(target):
            raise TypeError(f"items for a {type(target).__name__}")

    def as_dict(self) -> None:
        items = self.pop_mark()
        self.push(Pairs())
        self.set_items(items)

    def add_items(self) -> None:
        self.pop_mark()
        if not isinstance(self.top(), Opaque):
            raise TypeError("items for no set")

    def call(self, func: Any, args: Any) -> None:
        if isinstance(func, (list, Pairs, tuple, int, float, str)):
            raise TypeError(f"a call of a {type(func).__name__}")
        self.push(Call(func, args))

    def stack_global(self) -> None:
        module, name = self.pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("no name")
        self.push(Global(str(module), str(name)))

    def marked_object(self) -> None:
        items = self.pop_mark()
        self.call(items[0], tuple(items[1:]))

    def build(self) -> None:
        state = self.pop()[0]
        target = self.top()
        if isinstance(target, Call):
            target.state, target.built = state, True
            if self.after_build is not None:
                self.after_build(target, self.cursor)
        elif not isinstance(target, Opaque):
            raise TypeError(f"state for a {type(target).__name__}")

    def duplicate(self) -> None:
        self.push(self.top())

    def drop_mark(self) -> None:
        self.pop_mark()

    def replace_mark(self, value: Any) -> None:
        self.pop_mark()
        self.push(value)

    def persistent(self) -> None:
        self.pop()
        self.push(Opaque("a persistent id, which another file holds"))

    def read_only(self) -> None:
        if not isinstance(self.top(), (Blob, Opaque, Call)):
            raise TypeError("no buffer")

    def discard(self) -> None:
        # POP takes a mark as well.
        self.stack.pop()

    def two(self) -> None:
        self.call(*self.pop(2))

    def new(self) -> None:
        cls, args = self.pop(2)
        if isinstance(cls, Global) and cls.name in _MAKERS:
            raise TypeError(f"an instance of {cls}, which is a function")
        self.call(cls, args)

    def keyword_new(self) -> None:
        cls, args, _ = self.pop(3)
        self.call(cls, args)

    HANDLERS: ClassVar[dict[str, Callable[[_Machine, Any], None]]] = {
        "PROTO": lambda m, a: m.protocol(a),
        "FRAME": lambda m, a: m.frame(a),
        "MARK": lambda m, a: m.push(_MARK),
        "POP": lambda m, a: m.discard(),
        "POP_MARK": lambda m, a: m.drop_mark(),
        "DUP": lambda m, a: m.duplicate(),
        "NONE": lambda m, a: m.push(None),
        "NEWTRUE": lambda m, a: m.push(True),
        "NEWFALSE": lambda m, a: m.push(False),
        "EMPTY_LIST": lambda m, a: m.push([]),
        "LIST": lambda m, a: m.push(m.pop_mark()),
        "APPEND": lambda m, a: m.append(m.pop()),
        "APPENDS": lambda m, a: m.append(m.pop_mark()),
        "EMPTY_TUPLE": lambda m, a: m.push(()),
        "TUPLE": lambda m, a: m.push(tuple(m.pop_mark())),
        "TUPLE1": lambda m, a: m.push(tuple(m.pop(1))),
        "TUPLE2": lambda m, a: m.push(tuple(m.pop(2))),
        "TUPLE3": lambda m, a: m.push(tuple(m.pop(3))),
        "EMPTY_DICT": lambda m, a: m.push(Pairs()),
        "DICT": lambda m, a: m.as_dict(),
        "SETITEM": lambda m, a: m.set_items(m.pop(2)),
        "SETITEMS": lambda m, a: m.set_items(m.pop_mark()),
        "EMPTY_SET": lambda m, a: m.push(Opaque("a set")),
        "ADDITEMS": lambda m, a: m.add_items(),
        "FROZENSET": lambda m, a: m.replace_mark(Opaque("a frozenset")),
        "GET": lambda m, a: m.push(m.memo[a]),
        "BINGET": lambda m, a: m.push(m.memo[a]),
        "LONG_BINGET": lambda m, a: m.push(m.memo[a]),
        "PUT": lambda m, a: m.put(a),
        "BINPUT": lambda m, a: m.put(a),
        "LONG_BINPUT": lambda m, a: m.put(a),
        "MEMOIZE": lambda m, a: m.put(None),
        "STACK_GLOBAL": lambda m, a: m.stack_global(),
        "REDUCE": lambda m, a: m.two(),
        "NEWOBJ": lambda m, a: m.new(),
        "NEWOBJ_EX": lambda m, a: m.keyword_new(),
        "BUILD": lambda m, a: m.build(),
        "OBJ": lambda m, a: m.marked_object(),
        "BINPERSID": lambda m, a: m.persistent(),
        "EXT1": lambda m, a: m.push(Opaque(f"extension code {a}")),
        "EXT2": lambda m, a: m.push(Opaque(f"extension code {a}")),
        "EXT4": lambda m, a: m.push(Opaque(f"extension code {a}")),
        "NEXT_BUFFER": lambda m, a: m.push(Opaque("a buffer kept outside of the file")),
        "READONLY_BUFFER": lambda m, a: m.read_only(),
    }


def takes_items(target: Any) -> bool:
    """Whether pickle may add items to what `target` stands for: nothing of numpy's takes any."""
    if isinstance(target, Call):
        return not (isinstance(target.func, Global) and target.func.module.partition(".")[0] == "numpy")
    return isinstance(target, Opaque)


def parses(head: bytes, count: int = 12) -> bool:
    """Whether `head` starts with opcodes: `count` of them, or fewer up to STOP or to its end."""
    stream = io.BytesIO(head)
    seen = 0
    try:
        for _ in pickletools.genops(stream):
            seen += 1
            if seen >= count:
                return True
    except Exception as error:  # pickletools raises whatever its argument readers do
        # Cut in the middle of an argument is as good as any; a byte that is no opcode is not.
        return seen >= 3 and stream.tell() >= len(head) and "unknown" not in str(error)
    return seen >= 2
