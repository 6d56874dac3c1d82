/* SPDX-License-Identifier: MIT */
/* From bitmaps of frames to the library's estimate; see window.h. */
#include <errno.h>
#include <stdlib.h>

#include "window.h"

#define FRAME 4096ull

struct runs {
	struct pml_range *ranges;
	size_t n;
	size_t room;
};

static uint16_t events_of(const uint64_t *dirty, const uint64_t *referenced, uint64_t frame)
{
	uint64_t word = frame / 64, bit = frame % 64;

	return (uint16_t)((dirty[word] >> bit & 1 ? PML_DIRTY : 0) |
			  (referenced[word] >> bit & 1 ? PML_REFERENCED : 0));
}

static int add_run(struct runs *r, uint64_t first, uint64_t end, uint16_t events)
{
	if (r->n == r->room) {
		size_t room = r->room ? 2 * r->room : 1024;
		struct pml_range *grown = reallocarray(r->ranges, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		r->ranges = grown;
		r->room = room;
	}
	r->ranges[r->n++] = (struct pml_range){
		.start = first * FRAME, .end = end * FRAME, .granule = FRAME, .events = events,
		.known = PML_OBSERVED,
	};
	return 0;
}

static int find_runs(struct runs *r, const uint64_t *bitmaps, uint64_t frames)
{
	const uint64_t *dirty = bitmaps, *referenced = bitmaps + (frames + 63) / 64;
	uint16_t before = 0;
	uint64_t first = 0;
	int rc = 0;

	for (uint64_t frame = 0; rc == 0 && frame <= frames; frame++) {
		uint16_t events = frame < frames ? events_of(dirty, referenced, frame) : 0;

		if (events == before)
			continue;
		if (before)
			rc = add_run(r, first, frame, before);
		first = frame;
		before = events;
	}
	return rc;
}

int window_add(struct pml_wss *w, const struct pml_control_reply *reply, const uint64_t *bitmaps,
	       uint64_t begin_ns, uint64_t end_ns, struct window_estimate *e)
{
	struct runs runs = { 0 };
	struct pml_result result = { .begin_ns = begin_ns, .end_ns = end_ns, .page_size = FRAME,
				     .flags = reply->lost ? PML_RESULT_LOST : 0 };
	int rc;

	/* whoever does not send what was asked for would be read beyond its end */
	if (reply->words != 2 * ((reply->frames + 63) / 64))
		return -EPROTO;
	rc = find_runs(&runs, bitmaps, reply->frames);
	result.ranges = runs.ranges;
	result.nranges = runs.n;
	if (rc == 0)
		rc = pml_wss_add(w, &result);
	free(runs.ranges);
	*e = (struct window_estimate){
		.now.size = sizeof(e->now), .next.size = sizeof(e->next), .limit.size = sizeof(e->limit)
	};
	if (rc >= 0)
		rc = pml_wss_get(w, &e->now);
	if (rc == 0)
		rc = pml_wss_recommend(w, &e->limit);
	/* the first intervals may all be lost: then there is no forecast yet */
	if (rc == 0)
		pml_wss_predict(w, &e->next);
	return rc;
}
