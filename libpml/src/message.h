/* SPDX-License-Identifier: MIT */
/* Words put together from parts, without stdio.  message.c. */
#ifndef PML_MESSAGE_H
#define PML_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

void pml_words_until_null(char *out, size_t size, const char *first, ...)
	__attribute__((sentinel));
#define pml_words(out, size, ...) \
	pml_words_until_null(out, size, __VA_ARGS__, (const char *)0)
const char *pml_number(char buf[24], uint64_t n);

#endif /* PML_MESSAGE_H */
