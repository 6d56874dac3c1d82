/* SPDX-License-Identifier: MIT */
/*
 * keep_callbacks.c - a guard for QEMU up to 7.2, which pml-qemu preloads there.
 *
 * QEMU points a vCPU at an instruction's callbacks while the instruction's
 * helpers run.  Up to 7.2 it forgets to withdraw that if the instruction leaves
 * its translation block (a jump, a call, a return).  That does no harm until
 * the next flush of translated code, when the callbacks are freed and the
 * vCPU's next interrupt frame goes through the dangling pointer: QEMU aborts.
 * Mended in 8.0.
 *
 * So freed arrays of callbacks are kept for some flushes more.  The plugin
 * tells of each flush by pml_callbacks_flushed(); what was freed KEEP flushes
 * ago cannot be what a vCPU points at, as each vCPU that runs in between takes
 * new ones.  While instrumentation is off nothing is freed, and so memory is
 * bounded by KEEP times what one flush frees.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#define KEEP		8
#define CALLBACK_SIZE	40	/* of QEMU's callback descriptor, the arrays' element */

struct array; /* glib's GArray */

struct kept {
	struct kept *next;
	struct array *array;
};

char *g_array_free(struct array *array, int free_segment);
void pml_callbacks_flushed(void);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept *generation[KEEP];
static unsigned int current;
static char *(*real_free)(struct array *, int);
static unsigned int (*element_size)(struct array *);

static void resolve(void)
{
	*(void **)&real_free = dlsym(RTLD_NEXT, "g_array_free");
	*(void **)&element_size = dlsym(RTLD_NEXT, "g_array_get_element_size");
	if (!real_free || !element_size)
		abort();
}

char *g_array_free(struct array *array, int free_segment)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct kept *k;

	pthread_once(&once, resolve);
	if (!array || !free_segment || element_size(array) != CALLBACK_SIZE)
		return real_free(array, free_segment);
	k = malloc(sizeof(*k));
	if (!k)
		return NULL; /* a leak is better than a dangling pointer */
	k->array = array;
	pthread_mutex_lock(&lock);
	k->next = generation[current];
	generation[current] = k;
	pthread_mutex_unlock(&lock);
	return NULL;
}

void pml_callbacks_flushed(void)
{
	struct kept *k, *next;

	pthread_mutex_lock(&lock);
	if (!generation[current]) { /* nothing was freed: no time has passed */
		pthread_mutex_unlock(&lock);
		return;
	}
	current = (current + 1) % KEEP;
	k = generation[current];
	generation[current] = NULL;
	pthread_mutex_unlock(&lock);
	for (; k; k = next) {
		next = k->next;
		real_free(k->array, 1);
		free(k);
	}
}
