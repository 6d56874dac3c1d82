/* SPDX-License-Identifier: MIT */
/*
 * parent.h - the note that ties an image directory to the keeper's bases: a file
 * "pml-criu.note" with the round's token and the sizes of its page images.  It is
 * written when criu has ended well, and so a directory without it, or with images
 * that are not those, is nobody's parent.
 */
#ifndef PML_CRIU_PARENT_H
#define PML_CRIU_PARENT_H

#include <stddef.h>
#include <stdint.h>

/* Reads the note of the parent of the image directory `dir`.  0; 1: none, and `words`
 * say why; the token is then zeros. */
int parent_read(int dir, uint8_t *token, char *words, size_t size);
/* Takes away one that an earlier run has left in the image directory itself. */
void parent_forget(int dir);
/* Writes that of the image directory itself.  0 or -errno: then there is none. */
int parent_write(int dir, const uint8_t *token);

#endif
