# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Many runs of the oracle, each asked for something else; sourced by oracle.sh and
# patched.sh.

# What is asked of run number N: 1 to 6 threads, forked children, heaps that are
# unmapped, large and pointer-free objects, stops that are abandoned, rare full
# collections.  PML_BOEHM_WRITES: a thread's, fewer where a processor is emulated.
declare -a asked settings
vary()
{
	local n=$1

	asked=(--threads $((n % 6 + 1)) --writes "${PML_BOEHM_WRITES:-150000}")
	settings=()
	((n % 2)) || asked+=(--huge)
	((n % 3)) || asked+=(--forks 2)
	((n % 4 != 1)) || asked+=(--unmap)
	((n % 5 != 2)) || settings+=(GC_PAUSE_TIME_TARGET=2)
	((n % 2)) || settings+=(GC_FULL_FREQUENCY=1000)
	((n % 4 != 1)) || settings+=(GC_UNMAP_THRESHOLD=1)
	((n % 7 != 3)) || asked+=(--call)
}

# many ORACLE RUNS BACKEND: the runs; says which one failed.  With PML_LONG_STATE, a
# folder, each run that has passed is noted there and not repeated.
many()
{
	local oracle=$1 runs=$2 backend=$3 n status done_file

	for ((n = 0; n < runs; n++)); do
		done_file=${PML_LONG_STATE:-/nonexistent}/$backend-$n
		[ ! -e "$done_file" ] || continue
		vary "$n"
		status=0
		env PML_BACKEND="$backend" "${settings[@]}" timeout 300 "$oracle" --need \
			"${asked[@]}" || status=$?
		[ "$status" -eq 0 ] || {
			echo "run $n, ${settings[*]} ${asked[*]}: status $status"
			return 1
		}
		[ -z "${PML_LONG_STATE:-}" ] || : >"$done_file"
	done
}
