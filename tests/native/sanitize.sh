#!/usr/bin/env bash
# Builds the C extension with AddressSanitizer and UndefinedBehaviorSanitizer (gcc) and runs it: the reader by itself in
# a harness, then the whole module under its contract tests. Usage: sanitize.sh [rounds of the harness]
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-.venv/bin/python}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

flags=(
  -std=c11 -D_GNU_SOURCE=1 -g -O1 -fno-omit-frame-pointer
  -fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all
  -Wall -Wextra -Werror -Wconversion -Wshadow -Icext
)
gcc "${flags[@]}" -Dpread=scripted_pread cext/cgroup_batch.c tests/native/harness.c -o "$build/harness"
"$build/harness" "${1:-200000}"

# The package without the installed extension, and the sanitized one in its place.
mkdir "$build/path"
cp -r agent/plimsoll "$build/path/plimsoll"
rm -f "$build"/path/plimsoll/_native*.so
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
gcc "${flags[@]}" -shared -fPIC -DPy_LIMITED_API=0x030B0000 -isystem "$include" cext/*.c \
  -o "$build/path/plimsoll/_native.abi3.so"

# The interpreter itself is not built for the sanitizer: it must be loaded first, and what Python keeps until its end is
# no leak. PYTHONMALLOC=malloc puts every object under its eye. The measure of tests/unit/test_native_leaks.py reads the
# allocators it replaces, so that one test has nothing to see here.
env LD_PRELOAD="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)" \
  ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
  PYTHONMALLOC=malloc PYTHONPATH="$build/path" \
  "$python" -m pytest -q -p no:cacheprovider -k "not the_measure_sees" \
  tests/contract/test_batch.py tests/unit/test_native_leaks.py
