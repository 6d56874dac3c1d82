// SPDX-License-Identifier: GPL-2.0-only
/*
 * What sessions and users may keep; see budget.h.
 */
#include <linux/cred.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include "budget.h"
#include "session.h"

/* One who has sessions open: gone with the last of them. */
struct pml_user {
	struct list_head in_users;
	kuid_t uid;
	unsigned int sessions;	/* under users_lock */
	atomic_long_t used;
};

static LIST_HEAD(users);
static DEFINE_MUTEX(users_lock);

static struct pml_user *user_of(kuid_t uid)
{
	struct pml_user *u;

	list_for_each_entry(u, &users, in_users)
		if (uid_eq(u->uid, uid))
			return u;
	return NULL;
}

static struct pml_user *user_get(kuid_t uid)
{
	struct pml_user *u;

	mutex_lock(&users_lock);
	u = user_of(uid);
	if (!u) {
		u = kzalloc(sizeof(*u), GFP_KERNEL_ACCOUNT);
		if (u) {
			u->uid = uid;
			list_add(&u->in_users, &users);
		}
	}
	if (u)
		u->sessions++;
	mutex_unlock(&users_lock);
	return u;
}

static void user_put(struct pml_user *u)
{
	mutex_lock(&users_lock);
	if (!--u->sessions) {
		list_del(&u->in_users);
		kfree(u);
	}
	mutex_unlock(&users_lock);
}

static bool add(atomic_long_t *used, long bytes, long limit)
{
	if (atomic_long_add_return(bytes, used) <= limit)
		return true;
	atomic_long_sub(bytes, used);
	return false;
}

static long as_limit(unsigned long parameter)
{
	return min_t(unsigned long, parameter, LONG_MAX);
}

static bool charge_user(struct pml_user *u, long bytes)
{
	return add(&u->used, bytes, as_limit(READ_ONCE(pml_max_user_memory)));
}

int pml_budget_open(struct pml_budget *b, long fixed, unsigned long limit)
{
	b->user = user_get(current_uid());
	if (!b->user)
		return -ENOMEM;
	if (!charge_user(b->user, fixed)) {
		user_put(b->user);
		return -ENOMEM;
	}
	b->fixed = fixed;
	b->limit = as_limit(limit);
	return 0;
}

void pml_budget_close(struct pml_budget *b)
{
	atomic_long_sub(b->fixed, &b->user->used);
	user_put(b->user);
}

bool pml_charge(struct pml_budget *b, long bytes)
{
	if (!add(&b->used, bytes, b->limit))
		return false;
	if (charge_user(b->user, bytes))
		return true;
	atomic_long_sub(bytes, &b->used);
	return false;
}

void pml_uncharge(struct pml_budget *b, long bytes)
{
	atomic_long_sub(bytes, &b->used);
	atomic_long_sub(bytes, &b->user->used);
}
