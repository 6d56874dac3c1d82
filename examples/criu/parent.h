/* SPDX-License-Identifier: MIT */
/*
 * parent.h - the note that ties an image directory to the keeper's bases: a file
 * "pml-criu.note" with the round's token, that of its parent's round, and the sizes of
 * its page images.  It is written when criu has ended well, and so a directory without it,
 * or with images that are not those, is nobody's parent; nor is one that has left pages to
 * older images, if these have gone or were written anew.
 */
#ifndef PML_CRIU_PARENT_H
#define PML_CRIU_PARENT_H

#include <stddef.h>
#include <stdint.h>

enum parent {
	PARENT_GOOD = 0,
	PARENT_NONE,
	PARENT_DAMAGED,		/* images that it needs are not as they were written */
};

/* Reads the note of the parent of the image directory `dir`.  If it is not good, `words`
 * say why, and the token is zeros. */
enum parent parent_read(int dir, uint8_t *token, char *words, size_t size);
/* The image directory has no parent any more: criu leaves the vdso to any parent that it
 * finds, and what is made upon damaged images could not be restored. */
void parent_cut(int dir);
/* Takes away one that an earlier run has left in the image directory itself. */
void parent_forget(int dir);
/* Writes that of the image directory itself; `parent` is the token of its parent, or NULL
 * if that is none of this plugin's.  0 or -errno: then there is none. */
int parent_write(int dir, const uint8_t *token, const uint8_t *parent);

#endif
