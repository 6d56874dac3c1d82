/* SPDX-License-Identifier: MIT */
/* A started tracker; see tracker.h. */
#include "tracker.h"

#include "tap.h"

struct pml *tracker_start(const struct pml_options *options)
{
	struct pml_options o = *options;
	char message[512] = "";
	struct pml *t;

	o.message = message;
	o.message_size = sizeof(message);
	if (pml_open(&t, &o)) {
		tap_note("pml_open: %s", message);
		return NULL;
	}
	if (pml_start(t)) {
		tap_note("pml_start: %s", pml_message(t));
		pml_close(t);
		return NULL;
	}
	return t;
}
