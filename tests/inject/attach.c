/* SPDX-License-Identifier: MIT */
/* attach.c - see attach.h. */
#include "attach.h"
#include "inject.h"
#include "tap.h"

#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

unsigned int attach_times(pid_t pid, unsigned int n, unsigned int pause_ms,
			  struct attach_times *times)
{
	const struct timespec pause = { pause_ms / 1000, pause_ms % 1000 * 1000000L };
	unsigned int i, failed = 0;

	for (i = 0; i < n; i++) {
		struct uffdio_api api = { .api = UFFD_API };
		struct pml_injected injected;
		char words[512] = "";
		int r = pml_inject_userfaultfd(pid, &injected, words, sizeof(words));

		if (!r && ioctl(injected.uffd, UFFDIO_API, &api))
			r = -1;
		if (r && !failed++)
			tap_note("attach %u: %d: %s", i, r, words);
		if (r)
			continue;
		close(injected.uffd);
		if (times && times->n < 1024) {
			times->stop[times->n] = injected.stop_ns;
			times->window[times->n++] = injected.window_ns;
		}
		if (pause_ms)
			nanosleep(&pause, NULL);
	}
	return failed;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void note_one(uint64_t *times, size_t n, const char *what, const char *name)
{
	const size_t middle = n / 2, late = n * 9 / 10;

	qsort(times, n, sizeof(*times), by_size);
	tap_note("%s: %s, us: least %.0f, median %.0f, 90 %% %.0f, most %.0f (%zu attaches)", what,
		 name, (double)times[0] / 1e3, (double)times[middle] / 1e3,
		 (double)times[late] / 1e3, (double)times[n - 1] / 1e3, n);
}

void attach_note(struct attach_times *times, const char *what)
{
	if (!times->n)
		return;
	note_one(times->stop, times->n, what, "the target's thread stood still");
	note_one(times->window, times->n, what, "a killed injector would harm it for");
}
