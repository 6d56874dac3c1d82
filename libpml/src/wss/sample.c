/* SPDX-License-Identifier: MIT */
/* A working set from a sample of random pages: pml_wss_sample(). */
#define _GNU_SOURCE
#include "pml_wss.h"

#include <errno.h>
#include <stdbool.h>

#include "random.h"

/* Whether a page is in a range that tells of an event.  The ranges of one process
 * stand together, sorted by address. */
static bool touched(const struct pml_range *ranges, size_t n, uint32_t pid, uint64_t address)
{
	size_t low = 0, high;

	while (low < n && ranges[low].pid != pid)
		low++;
	for (high = n; high > low && ranges[high - 1].pid != pid;)
		high--;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (ranges[mid].end <= address)
			low = mid + 1;
		else if (ranges[mid].start > address)
			high = mid;
		else
			return ranges[mid].events & (PML_DIRTY | PML_REFERENCED);
	}
	return false;
}

int64_t pml_wss_sample(const struct pml_range *ranges, size_t nranges,
		       const struct pml_range *population, size_t npopulation,
		       uint32_t page_size, uint32_t samples, uint64_t seed, uint64_t *pages)
{
	uint64_t total = 0, found = 0;

	*pages = 0;
	for (size_t i = 0; page_size && i < npopulation; i++)
		total += (population[i].end - population[i].start) / page_size;
	if (!total || !samples)
		return -EINVAL;
	for (uint32_t i = 0; i < samples; i++) {
		uint64_t number = pml_random(&seed) % total;
		size_t at = 0;

		for (;; at++) {
			uint64_t here = (population[at].end - population[at].start) / page_size;

			if (number < here)
				break;
			number -= here;
		}
		found += touched(ranges, nranges, population[at].pid,
				 population[at].start + number * page_size);
	}
	*pages = (uint64_t)((double)total * (double)found / samples + 0.5);
	return (int64_t)found;
}
