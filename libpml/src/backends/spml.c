/* SPDX-License-Identifier: MIT */
/*
 * spml: the guest-physical addresses of what is accessed while the process runs, logged
 * by the PML device and mapped back to its pages by the module pml.ko.  Called through
 * struct pml_backend; what it does is in kmod.c.
 */
#include "kmod.h"
#include "pml_uapi.h"

static int spml_probe(char *why, size_t size)
{
	return pml_kmod_probe(PML_MODE_SPML, why, size);
}

static int spml_attach(struct pml_proc *p)
{
	return pml_kmod_attach(p, PML_MODE_SPML);
}

const struct pml_backend pml_backend_spml = {
	.name = "spml",
	.source = "the physical addresses that the PML device logs, mapped back by pml.ko",
	.events = PML_DIRTY | PML_REFERENCED,
	.caps = PML_CAP_SELF | PML_CAP_EXTERNAL | PML_CAP_ATOMIC_REARM | PML_CAP_MAPS |
		PML_CAP_PARTIAL,
	.granularity = 1,
	.probe = spml_probe,
	.attach = spml_attach,
	.detach = pml_kmod_detach,
	.begin = pml_kmod_begin,
	.drain = pml_kmod_drain,
};
