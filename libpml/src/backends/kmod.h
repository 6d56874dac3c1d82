/* SPDX-License-Identifier: MIT */
/*
 * What the back-ends by pml.ko share; kmod.c.  Each is one mode of the module, a
 * PML_MODE_* of pml_uapi.h.
 */
#ifndef PML_KMOD_H
#define PML_KMOD_H

#include "../backend.h"

/* A session with a module that this library can talk to and that has the mode; or
 * -errno, with the reason in words. */
int pml_kmod_session(uint32_t mode, char *why, size_t size);

struct pml_uapi_add;

/* PML_IOC_ADD, whatever signals the caller gets meanwhile: 0 or -errno. */
int pml_kmod_add(int session, struct pml_uapi_add *add);

/* Functions of struct pml_backend, the first two with the mode besides. */
int pml_kmod_probe(uint32_t mode, char *why, size_t size);
int pml_kmod_attach(struct pml_proc *p, uint32_t mode);
void pml_kmod_detach(struct pml_proc *p);
int pml_kmod_begin(struct pml_proc *p);
int pml_kmod_drain(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
		   struct pml_sink *sink, uint64_t *walk_end);

#endif
