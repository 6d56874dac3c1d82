/* SPDX-License-Identifier: MIT */
/*
 * ivshmem.h - the device's transport: QEMU's own ivshmem-doorbell device, for
 * which the plugin plays the server.  It owns the shared memory (BAR2) and
 * raises MSI-X vectors through eventfds.
 */
#ifndef PML_IVSHMEM_H
#define PML_IVSHMEM_H

#include <stddef.h>

#define IVSHMEM_MAX_VECTORS 64

struct ivshmem {
	void *bar;
	size_t size;
	int socket;		/* to QEMU's chardev; open as long as QEMU lives */
	unsigned int vectors;
	int event[IVSHMEM_MAX_VECTORS];
};

/* Makes the memory and says everything to the socket at once.  0 or -errno. */
int ivshmem_open(struct ivshmem *s, int socket, size_t size, unsigned int vectors);
void ivshmem_interrupt(struct ivshmem *s, unsigned int vector);

#endif /* PML_IVSHMEM_H */
