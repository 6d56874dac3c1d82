/* SPDX-License-Identifier: MIT */
/* user_stores.c - see stores.h: one function an instruction, address in rdi. */
#include "stores.h"

/* NOLINTBEGIN(bugprone-macro-parentheses): an asm template takes none */
#define MAKE(name, code)                                                                     \
	static void name##_store(char *at)                                                   \
	{                                                                                    \
		__asm__ volatile(code                                                        \
				 : "+D"(at)                                                  \
				 :                                                           \
				 : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "xmm0",    \
				   "xmm1", "memory", "cc");                                  \
	}

/* NOLINTEND(bugprone-macro-parentheses) */

/* X(name, may it cross pages, code) */
#define STORES(X)                                                                            \
	X(mov8, 0, "movb %%al, (%%rdi)")                                                     \
	X(mov16, 1, "movw %%ax, (%%rdi)")                                                    \
	X(mov32, 1, "movl %%eax, (%%rdi)")                                                   \
	X(mov64, 1, "movq %%rax, (%%rdi)")                                                   \
	X(mov_imm8, 0, "movb $1, (%%rdi)")                                                   \
	X(mov_imm16, 1, "movw $1, (%%rdi)")                                                  \
	X(mov_imm32, 1, "movl $1, (%%rdi)")                                                  \
	X(mov_imm64, 1, "movq $1, (%%rdi)")                                                  \
	X(movbe, 1, "movbe %%rax, (%%rdi)")                                                  \
	X(movnti, 1, "movnti %%rax, (%%rdi)")                                                \
	X(add, 1, "addq $1, (%%rdi)")                                                        \
	X(adc, 1, "adcl $1, (%%rdi)")                                                        \
	X(sub, 1, "subl $1, (%%rdi)")                                                        \
	X(sbb, 1, "sbbl $1, (%%rdi)")                                                        \
	X(and, 1, "andl $7, (%%rdi)")                                                        \
	X(or, 1, "orl $1, (%%rdi)")                                                          \
	X(xor, 1, "xorl $1, (%%rdi)")                                                        \
	X(inc, 1, "incl (%%rdi)")                                                            \
	X(dec, 1, "decl (%%rdi)")                                                            \
	X(neg, 1, "negl (%%rdi)")                                                            \
	X(not, 1, "notl (%%rdi)")                                                            \
	X(shl, 1, "shll $1, (%%rdi)")                                                        \
	X(shr, 1, "shrl $1, (%%rdi)")                                                        \
	X(sar, 1, "sarl $1, (%%rdi)")                                                        \
	X(rol, 1, "roll $1, (%%rdi)")                                                        \
	X(ror, 1, "rorl $1, (%%rdi)")                                                        \
	X(rcl, 1, "rcll $1, (%%rdi)")                                                        \
	X(rcr, 1, "rcrl $1, (%%rdi)")                                                        \
	X(shld, 1, "shldl $3, %%eax, (%%rdi)")                                               \
	X(shrd, 1, "shrdl $3, %%eax, (%%rdi)")                                               \
	X(bts, 1, "btsl $1, (%%rdi)")                                                        \
	X(btr, 1, "btrl $1, (%%rdi)")                                                        \
	X(btc, 1, "btcl $1, (%%rdi)")                                                        \
	X(setcc, 0, "setc (%%rdi)")                                                          \
	X(xchg, 1, "xchgl %%eax, (%%rdi)")                                                   \
	X(xadd, 1, "xaddl %%eax, (%%rdi)")                                                   \
	X(cmpxchg_hit, 1, "movl (%%rdi), %%eax; movl $3, %%ecx; cmpxchgl %%ecx, (%%rdi)")    \
	X(lock_add, 1, "lock addl $1, (%%rdi)")                                              \
	X(lock_sub, 1, "lock subl $1, (%%rdi)")                                              \
	X(lock_and, 1, "lock andl $7, (%%rdi)")                                              \
	X(lock_or, 1, "lock orl $1, (%%rdi)")                                                \
	X(lock_xor, 1, "lock xorl $1, (%%rdi)")                                              \
	X(lock_inc, 1, "lock incl (%%rdi)")                                                  \
	X(lock_dec, 1, "lock decl (%%rdi)")                                                  \
	X(lock_neg, 1, "lock negl (%%rdi)")                                                  \
	X(lock_not, 1, "lock notl (%%rdi)")                                                  \
	X(lock_bts, 1, "lock btsl $1, (%%rdi)")                                              \
	X(lock_btr, 1, "lock btrl $1, (%%rdi)")                                              \
	X(lock_btc, 1, "lock btcl $1, (%%rdi)")                                              \
	X(lock_xadd, 1, "lock xaddl %%eax, (%%rdi)")                                         \
	X(lock_cmpxchg, 0, "movl (%%rdi), %%eax; lock cmpxchgl %%ecx, (%%rdi)")              \
	X(lock_cmpxchg8b, 0,                                                                 \
	  "movl (%%rdi), %%eax; movl 4(%%rdi), %%edx; lock cmpxchg8b (%%rdi)")               \
	X(lock_cmpxchg16b, 0,                                                                \
	  "movq (%%rdi), %%rax; movq 8(%%rdi), %%rdx; lock cmpxchg16b (%%rdi)")              \
	X(stosb, 0, "stosb")                                                                 \
	X(stosw, 1, "stosw")                                                                 \
	X(stosl, 1, "stosl")                                                                 \
	X(stosq, 1, "stosq")                                                                 \
	X(rep_stosb, 1, "movl $24, %%ecx; rep stosb")                                        \
	X(rep_stosq, 1, "movl $3, %%ecx; rep stosq")                                         \
	X(movsb, 0, "movq %%rsp, %%rsi; movsb")                                              \
	X(movsl, 1, "movq %%rsp, %%rsi; movsl")                                              \
	X(movsq, 1, "movq %%rsp, %%rsi; movsq")                                              \
	X(rep_movsb, 1, "movq %%rsp, %%rsi; movl $24, %%ecx; rep movsb")                     \
	X(rep_movsq, 1, "movq %%rsp, %%rsi; movl $3, %%ecx; rep movsq")                      \
	X(push, 1, "movq %%rsp, %%r8; leaq 8(%%rdi), %%rsp; pushq %%rax; movq %%r8, %%rsp")  \
	X(push_imm, 1, "movq %%rsp, %%r8; leaq 8(%%rdi), %%rsp; pushq $1; movq %%r8, %%rsp") \
	X(pushf, 1, "movq %%rsp, %%r8; leaq 8(%%rdi), %%rsp; pushfq; movq %%r8, %%rsp")      \
	X(pop_mem, 1, "pushq %%rax; popq (%%rdi)")                                           \
	X(call, 1, "movq %%rsp, %%r8; leaq 8(%%rdi), %%rsp; call 1f; 1: movq %%r8, %%rsp")   \
	X(call_indirect, 1,                                                                  \
	  "movq %%rsp, %%r8; leaq 1f(%%rip), %%rax; leaq 8(%%rdi), %%rsp; call *%%rax; "     \
	  "1: movq %%r8, %%rsp")                                                             \
	X(enter, 1,                                                                          \
	  "movq %%rsp, %%r8; movq %%rbp, %%r9; leaq 8(%%rdi), %%rsp; enter $0, $0; "         \
	  "movq %%r9, %%rbp; movq %%r8, %%rsp")                                              \
	X(movups, 1, "movups %%xmm0, (%%rdi)")                                               \
	X(movaps, 0, "movaps %%xmm0, (%%rdi)")                                               \
	X(movdqu, 1, "movdqu %%xmm0, (%%rdi)")                                               \
	X(movss, 1, "movss %%xmm0, (%%rdi)")                                                 \
	X(movsd, 1, "movsd %%xmm0, (%%rdi)")                                                 \
	X(movq_xmm, 1, "movq %%xmm0, (%%rdi)")                                               \
	X(movd_xmm, 1, "movd %%xmm0, (%%rdi)")                                               \
	X(movlps, 1, "movlps %%xmm0, (%%rdi)")                                               \
	X(movhps, 1, "movhps %%xmm0, (%%rdi)")                                               \
	X(movntps, 0, "movntps %%xmm0, (%%rdi)")                                             \
	X(movntdq, 0, "movntdq %%xmm0, (%%rdi)")                                             \
	X(maskmovdqu, 0, "pcmpeqb %%xmm1, %%xmm1; maskmovdqu %%xmm1, %%xmm0")                \
	X(pextrb, 0, "pextrb $1, %%xmm0, (%%rdi)")                                           \
	X(pextrd, 1, "pextrd $1, %%xmm0, (%%rdi)")                                           \
	X(pextrq, 1, "pextrq $1, %%xmm0, (%%rdi)")                                           \
	X(extractps, 1, "extractps $1, %%xmm0, (%%rdi)")                                     \
	X(stmxcsr, 1, "stmxcsr (%%rdi)")                                                     \
	X(vmovups, 1, "vmovups %%ymm0, (%%rdi)")                                             \
	X(vmovaps, 0, "vmovaps %%ymm0, (%%rdi)")                                             \
	X(vmovntdq, 0, "vmovntdq %%ymm0, (%%rdi)")                                           \
	X(vmaskmovps, 1, "vpcmpeqd %%ymm1, %%ymm1, %%ymm1; vmaskmovps %%ymm0, %%ymm1, (%%rdi)") \
	X(vextracti128, 1, "vextracti128 $1, %%ymm0, (%%rdi)")                               \
	X(fst32, 1, "fldz; fstps (%%rdi)")                                                   \
	X(fst64, 1, "fldz; fstpl (%%rdi)")                                                   \
	X(fst80, 1, "fldz; fstpt (%%rdi)")                                                   \
	X(fist16, 1, "fldz; fistps (%%rdi)")                                                 \
	X(fist32, 1, "fldz; fistpl (%%rdi)")                                                 \
	X(fist64, 1, "fldz; fistpll (%%rdi)")                                                \
	X(fisttp, 1, "fldz; fisttpl (%%rdi)")                                                \
	X(fbstp, 1, "fldz; fbstp (%%rdi)")                                                   \
	X(fnstcw, 1, "fnstcw (%%rdi)")                                                       \
	X(fnstsw, 1, "fnstsw (%%rdi)")                                                       \
	X(fnstenv, 1, "fnstenv (%%rdi)")                                                     \
	X(fnsave, 1, "fnsave (%%rdi); frstor (%%rdi)")                                       \
	X(fxsave, 0, "fxsave64 (%%rdi)")                                                     \
	X(xsave, 0, "movl $-1, %%eax; movl $-1, %%edx; xsave64 (%%rdi)")                     \
	X(xsaveopt, 0, "movl $-1, %%eax; movl $-1, %%edx; xsaveopt64 (%%rdi)")

#define FUNCTION(name, cross, code) MAKE(name, code)
#define ROW(name, cross, code) { #name, name##_store, cross },

STORES(FUNCTION)

const struct store user_stores[] = { STORES(ROW) };
const size_t user_stores_count = sizeof(user_stores) / sizeof(user_stores[0]);
