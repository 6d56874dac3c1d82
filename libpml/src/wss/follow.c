/* SPDX-License-Identifier: MIT */
/* What pml.ko tells of the swapping of processes; see follow.h. */
#define _GNU_SOURCE
#include "follow.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../backends/kmod.h"
#include "pml_uapi.h"

#define ROOM 4096u		/* events that are read at once */

struct pml_followed {
	uint32_t pid;
	uint32_t target;
};

void pml_follow_init(struct pml_follow *f, struct pml_pool *pool)
{
	*f = (struct pml_follow){ .pool = pool, .session = -1 };
}

void pml_follow_free(struct pml_follow *f)
{
	if (f->session >= 0)
		close(f->session);
	pml_buf_free(&f->targets);
	pml_buf_free(&f->events);
}

static int open_session(struct pml_follow *f)
{
	char why[256];

	if (f->session < 0)
		f->session = pml_kmod_session(PML_MODE_SWAPS, why, sizeof(why));
	return f->session < 0 ? f->session : 0;
}

/* By a descriptor of its pagemap: procfs has then checked that we may. */
static int add_target(struct pml_follow *f, pid_t pid, uint32_t *target)
{
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = PML_TARGET_PROOF, .mode = PML_MODE_SWAPS,
		.events = PML_EV_SWAPPED,
	};
	char path[64];
	int proof, rc;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	proof = open(path, O_RDONLY | O_CLOEXEC);
	if (proof < 0)
		return errno == ENOENT ? -ESRCH : errno == EACCES ? -EPERM : -errno;
	add.id = proof;
	rc = pml_kmod_add(f->session, &add);
	close(proof);
	*target = add.target;
	return rc == -EOPNOTSUPP ? -ENOTSUP : rc;
}

int pml_follow_add(struct pml_follow *f, pid_t pid)
{
	struct pml_followed *at = f->targets.p;
	struct pml_followed new = { .pid = (uint32_t)pid };
	int rc;

	for (size_t i = 0; i < f->n; i++)
		if (at[i].pid == new.pid)
			return 0;
	rc = open_session(f);
	if (rc == 0)
		rc = pml_buf_reserve(f->pool, &f->events, ROOM * sizeof(struct pml_uapi_swap));
	if (rc == 0)
		rc = pml_buf_reserve(f->pool, &f->targets, (f->n + 1) * sizeof(*at));
	if (rc == 0)
		rc = add_target(f, pid, &new.target);
	/* a child that has not left its parent's memory (vfork) */
	if (rc == -EEXIST)
		return 0;
	if (rc)
		return rc;
	at = f->targets.p;
	at[f->n++] = new;
	return 0;
}

/* The process with that target; 0: of none, it has ended. */
static uint32_t pid_of(const struct pml_follow *f, uint32_t target)
{
	const struct pml_followed *at = f->targets.p;
	size_t low = 0, high = f->n;

	/* numbers rise */
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (at[mid].target < target)
			low = mid + 1;
		else
			high = mid;
	}
	return low < f->n && at[low].target == target ? at[low].pid : 0;
}

static int hand_on(const struct pml_follow *f, const struct pml_uapi_swap *e, uint32_t n,
		   struct pml_queue *q)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < n; i++) {
		uint32_t pid = pid_of(f, e[i].target);

		if (pid)
			rc = e[i].what == PML_SWAP_IN ? pml_queue_in(q, pid, e[i].address) :
							pml_queue_out(q, pid, e[i].address);
	}
	return rc;
}

/* Those whose memory has ended are followed no more; a process that has begun another
 * program is added anew by the next pml_follow_add(). */
static void drop_ended(struct pml_follow *f)
{
	struct pollfd p = { .fd = f->session, .events = POLLPRI };
	struct pml_uapi_list list = {
		.size = sizeof(list), .vec = (uintptr_t)f->events.p,
		.vec_len = (uint32_t)(f->events.len / sizeof(struct pml_uapi_listed)),
	};
	const struct pml_uapi_listed *listed = f->events.p;
	struct pml_followed *at = f->targets.p;
	size_t kept = 0, l = 0;

	if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLPRI) || ioctl(f->session, PML_IOC_LIST, &list))
		return;
	for (size_t i = 0; i < f->n; i++) {
		struct pml_uapi_remove r = { .size = sizeof(r), .target = at[i].target };

		while (l < list.n && listed[l].target < at[i].target)
			l++;
		if (l < list.n && listed[l].target == at[i].target &&
		    listed[l].flags & PML_LISTED_ENDED)
			ioctl(f->session, PML_IOC_REMOVE, &r);
		else
			at[kept++] = at[i];
	}
	f->n = kept;
}

/* What is missing (PML_STATE_LOST) the look at the end of the epoch makes up for. */
int pml_follow_read(struct pml_follow *f, struct pml_queue *q)
{
	struct pml_uapi_swaps s = { .size = sizeof(s), .vec = (uintptr_t)f->events.p,
				    .vec_len = ROOM };
	int rc = 0;

	if (!f->n)
		return 0;
	do {
		if (ioctl(f->session, PML_IOC_SWAPS, &s))
			break;
		rc = hand_on(f, f->events.p, s.n, q);
	} while (rc == 0 && s.n == ROOM);
	drop_ended(f);
	return rc;
}
