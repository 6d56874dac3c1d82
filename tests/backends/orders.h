/* SPDX-License-Identifier: MIT */
/*
 * A subject that does what it is told: this process, or a child of it that waits for
 * orders; for neighbour.c and crowded.c.
 */
#ifndef PML_TESTS_ORDERS_H
#define PML_TESTS_ORDERS_H

#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Carries out an order; false: it could not. */
typedef bool obey_fn(void *arg, int order);

struct subordinate {
	obey_fn *obey;
	void *arg;
	int orders;	/* a pipe to the child, and what it answers; -1: this process */
	int answers;
	pid_t pid;
};

static inline bool tell(const struct subordinate *s, int order)
{
	char c = (char)order;

	if (s->orders < 0)
		return s->obey(s->arg, order);
	return write(s->orders, &c, 1) == 1 && read(s->answers, &c, 1) == 1 && c;
}

/* The child begins with an order of its own. */
static inline void take_orders(const struct subordinate *s, int first, int orders, int answers)
{
	char c = (char)first;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	do {
		c = s->obey(s->arg, c);
		if (write(answers, &c, 1) != 1)
			break;
	} while (read(orders, &c, 1) == 1);
	_exit(0);
}

static inline bool start_child(struct subordinate *s, int first)
{
	int orders[2], answers[2];
	char c = 0;

	if (pipe(orders) || pipe(answers))
		return false;
	s->pid = fork();
	if (!s->pid) {
		close(orders[1]);
		close(answers[0]);
		take_orders(s, first, orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	s->orders = orders[1];
	s->answers = answers[0];
	return s->pid > 0 && read(s->answers, &c, 1) == 1 && c;
}

static inline void end_child(const struct subordinate *s)
{
	if (s->orders < 0)
		return;
	close(s->orders);
	close(s->answers);
	waitpid(s->pid, NULL, 0);
}

#endif
