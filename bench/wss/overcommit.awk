# SPDX-License-Identifier: MIT
# What the tenants of bench/wss/overcommit got done: a line a method.
#
# Pages a second of the passes of each size, from the load's log, as a share of the same
# alone.  While it goes round 96 MiB a tenant is large.
$3 == "refaults" {
	refaults[$1, $2] = $4
	next
}
{
	key = $1 SUBSEP $2 SUBSEP ($5 > 12288 ? "large" : "small")
	took[key] += $4 - $3
	pages[key] += $5
	if (!seen[$1]++)
		order[++n] = $1
}

function rate(method, tenant, size,    key)
{
	key = method SUBSEP tenant SUBSEP size
	return (key in pages) ? pages[key] / took[key] : 0
}

function share(method, tenant, size,    alone)
{
	alone = rate("alone", tenant, size)
	return alone ? 100 * rate(method, tenant, size) / alone : 0
}

END {
	printf "%-10s %11s %11s %11s %11s %10s %10s   %s\n", "method", "a large", "b small",
		"a small", "b large", "a refaults", "b refaults", "mean of the four"
	for (i = 1; i <= n; i++) {
		m = order[i]
		one = share(m, "a", "large")
		two = share(m, "b", "small")
		three = share(m, "a", "small")
		four = share(m, "b", "large")
		printf "%-10s %9.1f %% %9.1f %% %9.1f %% %9.1f %% %10d %10d   %.1f %%\n", m, one,
			two, three, four, refaults[m, "a"], refaults[m, "b"],
			(one + two + three + four) / 4
	}
}
