"""Process-wide settings that only the command line may make: log level and GPU memory."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def _native_messages_held_back() -> Iterator[None]:
    """Holds back what TensorFlow's native code says while loading, unless loading fails.

    Among it is an error on every machine without a GPU; no log level silences it.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def start() -> None:
    """Imports TensorFlow quietly and lets GPUs grow their memory."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _native_messages_held_back():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    tf.get_logger().setLevel("ERROR")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
