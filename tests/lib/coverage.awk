# SPDX-License-Identifier: MIT
# Makes the first table of docs/coverage.md, who dirties unseen, out of the suite's
# remarks (as matrix.awk does the matrix), all kernels and both sides together:
#   awk -f tests/lib/coverage.awk LOG...
# A cell is the worst that any run of the row's truths came to: FAILED, told as not
# covered, ASSUMED, seen; "-" where the truths say nothing about the back-end.
# Called by tests/long/guests and by hand.

function trim(s) { gsub(/^ +| +$/, "", s); return s }

# A row of the table: what writes, and the truths that speak of it, each by its group
# and the beginning of its name, or all of it and "$".  With a reason, what they say is that it is told.
function row(text, list, reason)
{
	texts[++rows] = text
	truths[rows] = list
	reasons[rows] = reason
}

BEGIN {
	columns = split("wp-async soft-dirty uffd-sync mprotect hash ptscan epml spml", column, " ")
	row("a store (1)", "exact: anon;exact: memfd")
	row("the same, to private and shared mappings of files", "exact: private;exact: shared")
	row("`read(2)` into the memory", "rules: the kernel writes")
	row("`process_vm_writev`, `/proc/PID/mem` (5)", "rules: another process writes")
	row("stores that race with a collect (2)", "race:")
	row("io_uring's registered buffers (3)", "coverage: registered")
	row("direct I/O in flight", "coverage: direct I/O", "io")
	row("another mapping, another process: that it may", "coverage: a memfd mapped;coverage: a file mapped", "shared")
	row("another mapping, another process: when it does", "coverage: written through")
	row("MADV_DONTNEED, MADV_FREE of private memory (7)", "rules: MADV_DONTNEED$;rules: MADV_DONTNEED, huge;rules: MADV_FREE")
	row("MADV_DONTNEED of files and memfds (7)", "rules: MADV_DONTNEED, private;rules: MADV_DONTNEED, memfd")
	row("munmap and mmap at the same place, mremap (4)", "rules: munmap and mmap at;rules: mremap")
	row("... of files and memfds", "rules: munmap and mmap, ")
	row("KSM merges a page between the write and the collect (6)", "coverage: written, then merged")
	row("swapped out between the write and the collect", "rules: swap")
	row("hugetlb", "rules: hugetlb")
	row("mappings of another userfaultfd", "coverage: another userfaultfd", "owned")
	row("a second tracker beside", "coverage: two trackers")
}

function note(r, b, kind, how)
{
	if (match(how, /\([a-z-]+\)/))
		how = substr(how, RSTART + 1, RLENGTH - 2)
	else
		how = ""
	seen[r, b, kind] = 1
	if (how && index(", " why[r, b, kind] ", ", ", " how ", ") == 0)
		why[r, b, kind] = why[r, b, kind] (why[r, b, kind] ? ", " : "") how
}

function take(r, b, verdict, how)
{
	if (verdict == "skipped")
		return
	if (verdict == "n/a")
		note(r, b, how ~ /EFAULT/ ? "fails" : "none")
	else if (verdict != "passed")
		note(r, b, "FAILED")
	else if (reasons[r])
		note(r, b, "told", "(" reasons[r] ")")
	else
		note(r, b, how ~ /^told/ ? "told" : how ~ /^ASSUMED/ ? "assumed" : "seen", how)
}

/^# matrix \|/ {
	split($0, f, "|")
	truth = trim(f[5]) ": " trim(f[6])
	kernel[trim(f[2])]
	for (r = 1; r <= rows; r++) {
		n = split(truths[r], part, ";")
		for (i = 1; i <= n; i++)
			if (index(truth "$", part[i]) == 1)
				take(r, trim(f[3]), trim(f[7]), trim(f[8]))
	}
}

function cell(r, b)
{
	if (seen[r, b, "FAILED"])
		return "**FAILED**"
	if (seen[r, b, "told"])
		return "told (" why[r, b, "told"] ")"
	if (seen[r, b, "fails"])
		return "the caller gets EFAULT"
	if (seen[r, b, "assumed"])
		return "yes, some ASSUMED (" why[r, b, "assumed"] ")"
	if (seen[r, b, "seen"])
		return "yes"
	return seen[r, b, "none"] ? "-" : ""
}

END {
	printf "| writer |"
	for (c = 1; c <= columns; c++)
		printf " %s |", column[c]
	printf "\n|---|"
	for (c = 1; c <= columns; c++)
		printf "---|"
	printf "\n"
	for (r = 1; r <= rows; r++) {
		printf "| %s |", texts[r]
		for (c = 1; c <= columns; c++)
			printf " %s |", cell(r, column[c])
		printf "\n"
	}
}
