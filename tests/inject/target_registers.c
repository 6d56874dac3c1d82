/* SPDX-License-Identifier: MIT */
/*
 * target_registers.c - targets that compute in registers and know what is in
 * them: any register that a stop changes shows at once.
 */
#include "target.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rseq.h>
#include <time.h>

struct registers {
	uint64_t general[15];	/* all but rsp: rax rbx rcx rdx rsi rdi rbp r8..r15 */
	uint64_t flags;
	unsigned char vector[16][32];
	uint32_t mxcsr;
	uint16_t x87;
	uint16_t none;
};

_Static_assert(__builtin_offsetof(struct registers, flags) == 120, "the assembler knows these");
_Static_assert(__builtin_offsetof(struct registers, vector) == 128, "the assembler knows these");

/*
 * Loads every register, spins for `loops`, stores every register.  Without AVX
 * the lower halves of the vector registers are all there is.
 */
void spin_sse(const struct registers *in, struct registers *out, uint64_t loops);
void spin_avx(const struct registers *in, struct registers *out, uint64_t loops);

#define VECTORS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) \
	X(14) X(15)
#define LOAD_SSE(n) "movdqu 128+32*" #n "(%rdi), %xmm" #n "\n"
#define LOAD_AVX(n) "vmovdqu 128+32*" #n "(%rdi), %ymm" #n "\n"
#define STORE_SSE(n) "movdqu %xmm" #n ", 128+32*" #n "(%rdi)\n"
#define STORE_AVX(n) "vmovdqu %ymm" #n ", 128+32*" #n "(%rdi)\n"

#define SPIN(name, load, store, end) \
	asm(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" \
	    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n" \
	    "push %rsi\npush %rdx\n" \
	    load \
	    "mov 0(%rdi), %rax\nmov 8(%rdi), %rbx\nmov 16(%rdi), %rcx\nmov 24(%rdi), %rdx\n" \
	    "mov 32(%rdi), %rsi\nmov 48(%rdi), %rbp\nmov 56(%rdi), %r8\nmov 64(%rdi), %r9\n" \
	    "mov 72(%rdi), %r10\nmov 80(%rdi), %r11\nmov 88(%rdi), %r12\nmov 96(%rdi), %r13\n" \
	    "mov 104(%rdi), %r14\nmov 112(%rdi), %r15\nmov 40(%rdi), %rdi\n" \
	    "1: decq (%rsp)\njnz 1b\n" \
	    "pushfq\npush %rdi\nmov 24(%rsp), %rdi\n" \
	    "mov %rax, 0(%rdi)\nmov %rbx, 8(%rdi)\nmov %rcx, 16(%rdi)\nmov %rdx, 24(%rdi)\n" \
	    "mov %rsi, 32(%rdi)\nmov %rbp, 48(%rdi)\nmov %r8, 56(%rdi)\nmov %r9, 64(%rdi)\n" \
	    "mov %r10, 72(%rdi)\nmov %r11, 80(%rdi)\nmov %r12, 88(%rdi)\nmov %r13, 96(%rdi)\n" \
	    "mov %r14, 104(%rdi)\nmov %r15, 112(%rdi)\n" \
	    "pop %rax\nmov %rax, 40(%rdi)\npop %rax\nmov %rax, 120(%rdi)\n" \
	    store end \
	    "pop %rdx\npop %rsi\n" \
	    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n" \
	    ".size " #name ", . - " #name "\n")

SPIN(spin_sse, VECTORS(LOAD_SSE), VECTORS(STORE_SSE), "");
SPIN(spin_avx, VECTORS(LOAD_AVX), VECTORS(STORE_AVX), "vzeroupper\n");

static void store_control(struct registers *r)
{
	asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(r->mxcsr), "=m"(r->x87));
}

static void check_registers(struct shared *shared, const struct timespec *rest)
{
	const bool avx = __builtin_cpu_supports("avx");
	unsigned int seed = (unsigned int)(uintptr_t)&seed;
	struct registers in, out;
	unsigned char *bytes = (unsigned char *)&in;
	size_t i;

	while (!atomic_load(&shared->stop)) {
		memset(&in, 0, sizeof(in));
		memset(&out, 0, sizeof(out));
		for (i = 0; i < sizeof(in.general); i++)
			bytes[i] = (unsigned char)rand_r(&seed);
		for (i = 0; i < sizeof(in.vector); i++)
			in.vector[i / 32][i % 32] =
				avx || i % 32 < 16 ? (unsigned char)rand_r(&seed) : 0;
		store_control(&in);
		(avx ? spin_avx : spin_sse)(&in, &out, 200000);
		store_control(&out);
		/* The loop ends with a result of zero: ZF and PF, interrupts on. */
		in.flags = 0x246;
		if (memcmp(&in, &out, sizeof(in)) != 0) {
			for (i = 0; i < sizeof(in) && bytes[i] == ((unsigned char *)&out)[i]; i++)
				;
			target_error(shared, "registers differ at byte %zu", i);
		}
		atomic_fetch_add(&shared->rounds, 1);
		target_ready(shared);
		if (rest)
			nanosleep(rest, NULL);
	}
}

void run_registers(struct shared *shared)
{
	check_registers(shared, NULL);
}

/* So that many threads do not just wait for a processor. */
static void run_registers_and_rest(struct shared *shared)
{
	const struct timespec rest = { 0, 20000000 };

	check_registers(shared, &rest);
}

void run_registers_in_32_threads(struct shared *shared)
{
	target_threads(shared, 32, run_registers_and_rest);
}

/*
 * Restartable sequences: each CPU has a counter that threads on that CPU add to
 * without atomic instructions.  A sequence whose abort is missed, because the
 * thread was led elsewhere in its middle, loses counts.  A pause in the middle
 * makes it likely to be met there.
 */
enum { CPUS = 256, RSEQ_THREADS = 4 };

static struct {
	volatile uint64_t count;
	char line[56];
} per_cpu[CPUS];
static atomic_ulong done;

const char *rseq_missing(void)
{
	return __rseq_size ? NULL : "the C library has not registered restartable sequences";
}

static struct rseq *my_rseq(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/*
 * Adds 1 to *count, on this CPU.  Returns 0 if it was interrupted: try again.
 * The mark before the abort handler is the one the C library registered.
 */
int add_in_sequence(struct rseq *rseq, uint32_t cpu, volatile uint64_t *count);

_Static_assert(__builtin_offsetof(struct rseq, cpu_id) == 4, "the assembler knows these");
_Static_assert(__builtin_offsetof(struct rseq, rseq_cs) == 8, "the assembler knows these");

asm(".text\n.globl add_in_sequence\n.type add_in_sequence, @function\nadd_in_sequence:\n"
    ".pushsection .data.rel, \"aw\"\n"
    ".balign 32\n"
    "3: .long 0, 0\n"
    ".quad 1f, (2f - 1f), 4f\n"
    ".popsection\n"
    "leaq 3b(%rip), %rax\n"
    "movq %rax, 8(%rdi)\n"
    "1: cmpl %esi, 4(%rdi)\n"
    "jnz 4f\n"
    "movq (%rdx), %rax\n"
    "movl $300, %ecx\n"
    "5: decl %ecx\n"
    "jnz 5b\n"
    "incq %rax\n"
    "movq %rax, (%rdx)\n"
    "2: movl $1, %eax\n"
    "ret\n"
    ".byte 0x0f, 0xb9, 0x3d\n"
    ".long 0x53053053\n"
    "4: xorl %eax, %eax\n"
    "ret\n"
    ".size add_in_sequence, . - add_in_sequence\n");

static bool add_on_cpu(void)
{
	struct rseq *rseq = my_rseq();
	uint32_t cpu = *(volatile uint32_t *)&rseq->cpu_id_start;

	return add_in_sequence(rseq, cpu, &per_cpu[cpu % CPUS].count);
}

static void add_all_the_time(struct shared *shared)
{
	unsigned long mine = 0;

	target_ready(shared);
	while (!atomic_load(&shared->stop)) {
		volatile unsigned int outside = 0;

		/* About as long outside as in: it can be stopped outside, after a few tries. */
		while (++outside < 100)
			;
		if (!add_on_cpu())
			continue;
		mine++;
		if (!(mine & 0xff))
			atomic_fetch_add(&shared->rounds, 1);
	}
	atomic_fetch_add(&done, mine);
}

void run_rseq(struct shared *shared)
{
	uint64_t sum = 0;
	size_t i;

	target_threads(shared, RSEQ_THREADS, add_all_the_time);
	for (i = 0; i < CPUS; i++)
		sum += per_cpu[i].count;
	if (sum != atomic_load(&done))
		target_error(shared, "%lu additions, %lu counted", atomic_load(&done), sum);
}
