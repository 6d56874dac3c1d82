# SPDX-License-Identifier: MIT
# bench-backends' lines, sorted by kernel, kind of page and size, as tables in Markdown,
# one a kernel and kind of page; and whether pml_open's own choice was the cheapest
# exact one.  Called by bench/backends/run.
BEGIN { FS = "\t" }

function number(x) { return x >= 100 ? sprintf("%.0f", x) : x >= 10 ? sprintf("%.1f", x) : sprintf("%.2f", x) }
function spread(i) { return number($i) " (" number($(i + 1)) " to " number($(i + 2)) ")" }

# exact: what it does not report has not changed, and pml_open may take it by itself
function exact(b) { return b != "hash" && b != "mprotect" }

function end_column()
{
	if (column == "")
		return
	if (best == own)
		said = said sprintf("- %s MB: pml_open takes %s, the cheapest exact one.\n", mb, own)
	else
		said = said sprintf("- %s MB: pml_open takes %s; %s costs %.2f of it an epoch.\n", mb, own, best, least / cost)
}

{
	if ($1 FS $2 FS $3 != column) {
		end_column()
		column = $1 FS $2 FS $3; mb = $2; best = own = ""; least = cost = 0
	}
	if ($1 FS $3 != section) {
		if (section != "")
			printf "\n%s", said
		said = ""
		section = $1 FS $3
		printf "\n### Linux %s, %s\n\n", $1, $3 == "thp" ? "huge pages" : "4 KiB pages"
		print "| MB | back-end | arm, ns a page | write, ns a page written | collect, ns a page written | loop, times untracked | loop and collect, times untracked |"
		print "|---|---|---|---|---|---|---|"
	}
	printf "| %s | %s%s | %s | %s | %s | %s | %s |\n", $2, $4, $5 ? " *" : "", spread(6), spread(9),
		spread(12), spread(15), spread(18)
	if (exact($4) && (best == "" || $18 < least)) { best = $4; least = $18 }
	if ($5) { own = $4; cost = $18 }
}

END { end_column(); printf "\n%s", said }
