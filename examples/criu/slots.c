/* SPDX-License-Identifier: MIT */
/*
 * The executable's own call slots: see slots.h.  A program that calls into a shared
 * library does so through a pointer that the dynamic linker fills in, one a function.
 * The executable's dynamic section says where they are; what other libraries in the
 * process call is not concerned.
 */
#define _GNU_SOURCE
#include "slots.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#define SLOT_TYPE(t) ((t) == R_X86_64_JUMP_SLOT || (t) == R_X86_64_GLOB_DAT)
#elif defined(__aarch64__)
#define SLOT_TYPE(t) ((t) == R_AARCH64_JUMP_SLOT || (t) == R_AARCH64_GLOB_DAT)
#else
#define SLOT_TYPE(t) false
#endif

struct executable {
	Elf64_Addr base;
	Elf64_Addr relro;
	size_t relro_size;
	const Elf64_Sym *symbols;
	const char *strings;
	const Elf64_Rela *tables[2];
	size_t sizes[2];
};

/* The linker may have added the base to the section's pointers, or not. */
static const void *pointer(const struct executable *e, Elf64_Addr value)
{
	/* it is an address of this process, which the section holds as a number */
	return (const void *)(value < e->base ? value + e->base : value); // NOLINT
}

static void read_dynamic(struct executable *e, const Elf64_Dyn *d)
{
	for (; d->d_tag != DT_NULL; d++) {
		switch (d->d_tag) {
		case DT_SYMTAB:
			e->symbols = pointer(e, d->d_un.d_ptr);
			break;
		case DT_STRTAB:
			e->strings = pointer(e, d->d_un.d_ptr);
			break;
		case DT_JMPREL:
			e->tables[0] = pointer(e, d->d_un.d_ptr);
			break;
		case DT_PLTRELSZ:
			e->sizes[0] = d->d_un.d_val / sizeof(Elf64_Rela);
			break;
		case DT_RELA:
			e->tables[1] = pointer(e, d->d_un.d_ptr);
			break;
		case DT_RELASZ:
			e->sizes[1] = d->d_un.d_val / sizeof(Elf64_Rela);
			break;
		}
	}
}

/* The first object that the linker knows is the executable. */
static int first_object(struct dl_phdr_info *info, size_t size, void *out)
{
	struct executable *e = out;
	const Elf64_Dyn *dynamic = NULL;

	(void)size;
	e->base = info->dlpi_addr;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const Elf64_Phdr *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_DYNAMIC)
			dynamic = (const void *)(e->base + p->p_vaddr); // NOLINT
		if (p->p_type == PT_GNU_RELRO) {
			e->relro = e->base + p->p_vaddr;
			e->relro_size = p->p_memsz;
		}
	}
	if (dynamic)
		read_dynamic(e, dynamic);
	return 1;
}

static bool named(const struct slot *s, const char *name)
{
	for (size_t i = 0; i < sizeof(s->names) / sizeof(s->names[0]) && s->names[i]; i++)
		if (!strcmp(s->names[i], name))
			return true;
	return false;
}

static int look_at(const struct executable *e, const Elf64_Rela *r, struct slot *slots, size_t n)
{
	const char *name;

	if (!SLOT_TYPE(ELF64_R_TYPE(r->r_info)))
		return 0;
	name = e->strings + e->symbols[ELF64_R_SYM(r->r_info)].st_name;
	for (size_t i = 0; i < n; i++) {
		if (!named(&slots[i], name))
			continue;
		if (slots[i].n == sizeof(slots[i].places) / sizeof(slots[i].places[0]))
			return -E2BIG;
		slots[i].places[slots[i].n++] = (void **)(e->base + r->r_offset); // NOLINT
	}
	return 0;
}

int slots_find(struct slot *slots, size_t n, const char **missing)
{
	struct executable e = { 0 };
	int status = 0;

	*missing = "a dynamic section";
	dl_iterate_phdr(first_object, &e);
	if (!e.symbols || !e.strings)
		return -ENOENT;
	for (size_t i = 0; i < n; i++)
		slots[i].n = 0;
	for (size_t t = 0; t < 2; t++)
		for (size_t i = 0; e.tables[t] && i < e.sizes[t] && !status; i++)
			status = look_at(&e, &e.tables[t][i], slots, n);
	for (size_t i = 0; i < n && !status; i++) {
		*missing = slots[i].names[0];
		if (!slots[i].n)
			status = -ENOENT;
	}
	return status;
}

/* The page may be one that the linker has made read-only after it was done. */
static int set_place(void **place, void *to)
{
	struct executable e = { 0 };
	uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t page = (uintptr_t)place & ~(size - 1);
	bool sealed;

	dl_iterate_phdr(first_object, &e);
	sealed = (uintptr_t)place >= e.relro && (uintptr_t)place < e.relro + e.relro_size;
	if (sealed && mprotect((void *)page, size, PROT_READ | PROT_WRITE)) // NOLINT
		return -errno;
	__atomic_store_n(place, to, __ATOMIC_RELEASE);
	if (sealed && mprotect((void *)page, size, PROT_READ)) // NOLINT
		return -errno;
	return 0;
}

void slots_restore(struct slot *slots, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < slots[i].n; k++)
			if (*slots[i].places[k] == slots[i].function)
				set_place(slots[i].places[k], slots[i].before[k]);
}

int slots_set(struct slot *slots, size_t n)
{
	int status = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < slots[i].n; k++)
			slots[i].before[k] = *slots[i].places[k];
	for (size_t i = 0; i < n && !status; i++)
		for (size_t k = 0; k < slots[i].n && !status; k++)
			status = set_place(slots[i].places[k], slots[i].function);
	if (status)
		slots_restore(slots, n);
	return status;
}
