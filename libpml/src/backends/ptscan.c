/* SPDX-License-Identifier: MIT */
/*
 * ptscan: the dirty and accessed bits that the processor sets in the process's page
 * tables, harvested by the module pml.ko.  Called through struct
 * pml_backend; what it does is in kmod.c.
 */
#include "kmod.h"
#include "pml_uapi.h"

static int ptscan_probe(char *why, size_t size)
{
	return pml_kmod_probe(PML_MODE_PTSCAN, why, size);
}

static int ptscan_attach(struct pml_proc *p)
{
	return pml_kmod_attach(p, PML_MODE_PTSCAN);
}

const struct pml_backend pml_backend_ptscan = {
	.name = "ptscan",
	.source = "the page tables' own dirty and accessed bits, pml.ko",
	.events = PML_DIRTY | PML_REFERENCED,
	.caps = PML_CAP_SELF | PML_CAP_EXTERNAL | PML_CAP_ATOMIC_REARM | PML_CAP_MAPS |
		PML_CAP_PARTIAL,
	.granularity = 1,
	.probe = ptscan_probe,
	.attach = ptscan_attach,
	.detach = pml_kmod_detach,
	.begin = pml_kmod_begin,
	.drain = pml_kmod_drain,
};
