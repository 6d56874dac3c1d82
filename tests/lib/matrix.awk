# SPDX-License-Identifier: MIT
# Makes the matrix (kernel x truth x back-end) out of the suite's remarks:
#   # matrix | KERNEL | BACK-END | SIDE | GROUP | TRUTH | VERDICT | HOW
# One table a kernel, in Markdown; a cell is what happened to the calling process
# and, behind the stroke, to another one:
#   ok       seen               assumed  taken as changed, to be safe
#   told     named as not covered
#   -        says nothing here  skip     see the list of reasons below the tables
# Called by tests/long/guests, by tests/guests/suite and by hand.

function trim(s) { gsub(/^ +| +$/, "", s); return s }

function word(verdict, how)
{
	if (verdict == "n/a")
		return "-"
	if (verdict == "skipped")
		return "skip"
	if (verdict != "passed")
		return verdict
	if (how ~ /^told/)
		return "told"
	return how ~ /^ASSUMED/ ? "assumed" : "ok"
}

/^# matrix \|/ {
	n = split($0, f, "|")
	for (i = 2; i <= n; i++)
		f[i] = trim(f[i])
	k = f[2]; b = f[3]; side = f[4]; truth = f[5] ": " f[6]; how = f[8]
	if (!(k in kernels)) { kernels[k]; klist[++nk] = k }
	if (!(b in backs)) { backs[b]; blist[++nb] = b }
	if (f[7] == "skipped") {
		r = b ", " side (f[5] == "all" ? "" : ", " truth) ": " how
		if (!((k, r) in told)) { told[k, r]; reasons[k, ++nr[k]] = r }
	}
	if (f[5] == "all")
		next
	if (f[7] == "caught" || f[7] == "NOT CAUGHT")
		truth = "broken on purpose: " f[6]
	if (!(truth in truths)) { truths[truth]; tlist[++nt] = truth }
	# what was run twice counts once, and a failure counts
	if (cell[k, truth, b, side] !~ /FAILED|NOT/)
		cell[k, truth, b, side] = word(f[7], how)
	has[k, truth]
}

function sums(k, b,   t, s, passed, failed, skipped)
{
	for (t = 1; t <= nt; t++)
		for (s = 1; s <= 2; s++)
			if ((k, tlist[t], b, s == 1 ? "self" : "outside") in cell)
				kind[cell[k, tlist[t], b, s == 1 ? "self" : "outside"]]++
	failed = kind["FAILED"] + kind["NOT CAUGHT"]
	skipped = kind["skip"]
	passed = kind["ok"] + kind["told"] + kind["assumed"] + kind["caught"]
	delete kind
	return sprintf("%d, %d, %d", passed, failed, skipped)
}

END {
	for (i = 1; i <= nk; i++) {
		k = klist[i]
		printf "\n### Linux %s\n\n| truth |", k
		for (j = 1; j <= nb; j++)
			printf " %s |", blist[j]
		printf "\n|---|"
		for (j = 1; j <= nb; j++)
			printf "---|"
		printf "\n"
		for (t = 1; t <= nt; t++) {
			if (!((k, tlist[t]) in has))
				continue
			printf "| %s |", tlist[t]
			for (j = 1; j <= nb; j++) {
				s = cell[k, tlist[t], blist[j], "self"]
				o = cell[k, tlist[t], blist[j], "outside"]
				printf " %s |", s == o ? s : (s ? s : ".") " / " (o ? o : ".")
			}
			printf "\n"
		}
		printf "| **passed, failed, skipped** |"
		for (j = 1; j <= nb; j++)
			printf " %s |", sums(k, blist[j])
		printf "\n\n"
		for (j = 1; j <= nr[k]; j++)
			printf "- skipped: %s\n", reasons[k, j]
	}
}
