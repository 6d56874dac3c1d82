/* SPDX-License-Identifier: MIT */
/*
 * The oracle's negative control for a patched libgc: between libpml-gc and libgc, this
 * program's own GC_set_dirty_provider() keeps back what was written.  The collector then
 * has to lose objects.  boehm-oracle-silent is the oracle with this; patched.sh runs it.
 */
#include "gc_provider.h"

#include <dlfcn.h>
#include <string.h>

/* Found by libpml-gc in place of libgc's. */
int GC_CALL GC_set_dirty_provider(const struct GC_dirty_provider_s *provider);

static struct GC_dirty_provider_s real;

static void GC_CALLBACK drop(void *closure, struct GC_dirty_range_s found)
{
	(void)closure;
	(void)found;
}

static int GC_CALLBACK read_in_silence(void *client_data, const struct GC_dirty_range_s *parts,
				       size_t nparts, GC_dirty_found_proc found, void *closure)
{
	(void)found;
	return real.read(client_data, parts, nparts, drop, closure);
}

int GC_CALL GC_set_dirty_provider(const struct GC_dirty_provider_s *provider)
{
	void *symbol = dlsym(RTLD_NEXT, "GC_set_dirty_provider");
	struct GC_dirty_provider_s silent = *provider;
	pml_gc_set_provider_proc set;

	if (!symbol)
		return -1;
	real = *provider;
	silent.read = read_in_silence;
	memcpy(&set, &symbol, sizeof(set));
	return set(&silent);
}
