/* SPDX-License-Identifier: MIT */
/*
 * epml: the virtual addresses of what the process accesses, logged by the PML device
 * and read by the module pml.ko.  Called through struct pml_backend; what it does is
 * in kmod.c.
 */
#include "kmod.h"
#include "pml_uapi.h"

static int epml_probe(char *why, size_t size)
{
	return pml_kmod_probe(PML_MODE_EPML, why, size);
}

static int epml_attach(struct pml_proc *p)
{
	return pml_kmod_attach(p, PML_MODE_EPML);
}

const struct pml_backend pml_backend_epml = {
	.name = "epml",
	.source = "the virtual addresses that the PML device logs, pml.ko",
	.events = PML_DIRTY | PML_REFERENCED,
	.caps = PML_CAP_SELF | PML_CAP_EXTERNAL | PML_CAP_ATOMIC_REARM | PML_CAP_MAPS |
		PML_CAP_PARTIAL,
	.granularity = 1,
	.probe = epml_probe,
	.attach = epml_attach,
	.detach = pml_kmod_detach,
	.begin = pml_kmod_begin,
	.drain = pml_kmod_drain,
};
