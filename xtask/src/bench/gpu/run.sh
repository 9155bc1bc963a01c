#!/bin/sh
# Measures what is promised of a GPU, on a machine with the torch 2.11.0 of Python and a C++ compiler, without Rust and
# without a network:
#
#   ./run.sh               both parts, less than 10 minutes
#   ./run.sh correctness   captured steps against direct ones, waits, bf16 against float32: less than 4 minutes
#   ./run.sh speed         PyTorch eager and compiled, passes, memory, two GPUs where there are: less than 6 minutes
#   ./run.sh --rehearse    the same programs at a toy size, on whatever device libtorch has
#
# The results come last. They are in $OUT too, or in results/ here. LIBTORCH names another torch folder than Python's.
set -u
cd "$(dirname "$0")" || exit 1
begin=$(date +%s)
only=losses,precision,small,large,floor,processes
seconds=580
rounds="--rounds 5"
rehearse=
for word in "$@"; do
    case $word in
        correctness) only=losses,precision seconds=235 ;;
        speed) only=small,large,floor,processes seconds=350 ;;
        --rehearse) rehearse=--rehearse rounds="--rounds 1 --steps 2 --warmup 3" ;;
        *)
            echo "error: $word: expected correctness, speed or --rehearse" >&2
            exit 2
            ;;
    esac
done
if [ -z "${CUDA_HOME:-}" ] && nvcc=$(command -v nvcc); then
    CUDA_HOME=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
    export CUDA_HOME
fi
export ADMIX_SHARED="$PWD/shared"
for program in bin/*.gz; do
    [ ! -e "$program" ] || gzip -d "$program" || exit 1
done
# Python's torch as .libtorch, where the programs look for it, with libadmix_cuda.so.
bin/xtask setup || exit 1
[ -e .libtorch/torch/lib/libadmix_cuda.so ] || timeout 90 bin/xtask setup --cuda || exit 1
LD_LIBRARY_PATH="$PWD/.libtorch/torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout 60 bin/admix --version || exit 1
# A rehearsal takes as long as its device does.
[ -n "$rehearse" ] || limit="--seconds $((seconds - $(date +%s) + begin))"
exec bin/xtask bench gpu --admix bin/admix --device cuda --only $only $rounds $rehearse ${limit:-} --out "${OUT:-results}"
