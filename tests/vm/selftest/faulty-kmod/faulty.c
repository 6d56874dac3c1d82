// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A module with one chosen mistake: tests/vm/selftest loads it in the debug
 * kernel, which must find the mistake, and the harness must then say so.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *fault = "none";
module_param(fault, charp, 0444);
MODULE_PARM_DESC(fault, "none, bounds, freed, atomic, order, leak");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);

/* Hides the object's size and life from the compiler, which would complain. */
static void touch(char *object, size_t at)
{
	OPTIMIZER_HIDE_VAR(object);
	WRITE_ONCE(object[at], 1);
}

static void out_of_bounds(void)
{
	char *object = kmalloc(24, GFP_KERNEL);

	if (object)
		touch(object, 24);
	kfree(object);
}

static void after_free(void)
{
	char *object = kmalloc(24, GFP_KERNEL);
	char *again = object;

	OPTIMIZER_HIDE_VAR(again);
	kfree(object);
	if (again)
		touch(again, 0);
}

static void sleep_in_atomic(void)
{
	spin_lock(&spin);
	msleep(1);
	spin_unlock(&spin);
}

static void wrong_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void leak(void)
{
	char *object = kmalloc(1000, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(object);
}

static int __init faulty_init(void)
{
	if (!strcmp(fault, "bounds"))
		out_of_bounds();
	else if (!strcmp(fault, "freed"))
		after_free();
	else if (!strcmp(fault, "atomic"))
		sleep_in_atomic();
	else if (!strcmp(fault, "order"))
		wrong_order();
	else if (!strcmp(fault, "leak"))
		leak();
	return 0;
}

static void __exit faulty_exit(void)
{
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("libpml: mistakes for the debug kernel to find");
