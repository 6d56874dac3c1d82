/* SPDX-License-Identifier: MIT */
/*
 * host_frames.c - pml-host against the machine's memory itself: between two
 * stops of a virtual machine, every frame whose content changed must be among
 * those that pml-host names, while a program in the guest uses the device too.
 * Called by host-frames.sh:
 *   host_frames RAM-FILE MONITOR-SOCKET PML-HOST CONTROL-SOCKET ROUNDS
 *
 * Known not to reach a plugin: accessed and dirty bits that the page walker
 * sets.  A frame that differs in nothing but such bits is counted apart.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FRAME	 4096u
#define WALKER	 0x60ull /* accessed and dirty */
#define MOST_MORE 40	/* rounds, until the guest was seen with logging and without */

static const char *pml_host, *control;
static int monitor;
/* Rounds that ended while the guest used the device, and while it did not. */
static int rounds_with[2];

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static void dial(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	strncpy(at.sun_path, path, sizeof(at.sun_path) - 1);
	monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (monitor < 0 || connect(monitor, (struct sockaddr *)&at, sizeof(at)))
		die(path);
}

/* Reads until the monitor's prompt has come. */
static void prompt(void)
{
	char text[4096];
	size_t n = 0;
	ssize_t got;

	do {
		got = recv(monitor, text + n, sizeof(text) - 1 - n, 0);
		if (got <= 0)
			die("the monitor");
		n += (size_t)got;
		text[n] = 0;
	} while (!strstr(text, "(qemu) ") && n < sizeof(text) - 1);
}

static void tell(const char *command)
{
	if (send(monitor, command, strlen(command), MSG_NOSIGNAL) < 0)
		die("the monitor");
	prompt();
}

static json_t *ask(const char *what)
{
	char command[1024];
	json_t *j;
	FILE *f;

	snprintf(command, sizeof(command), "%s -s %s -j %s", pml_host, control, what);
	f = popen(command, "re");
	if (!f)
		die("pml-host");
	j = json_loadf(f, 0, NULL);
	pclose(f);
	if (!j)
		die(command);
	return j;
}

static bool same_but_for_walker(const char *a, const char *b)
{
	uint64_t x, y;
	size_t i;

	for (i = 0; i < FRAME; i += 8) {
		memcpy(&x, a + i, 8);
		memcpy(&y, b + i, 8);
		if ((x ^ y) & ~WALKER)
			return false;
	}
	return true;
}

static bool named(const json_t *ranges, uint64_t at)
{
	const json_t *r;
	size_t i;

	json_array_foreach(ranges, i, r)
		if (at >= (uint64_t)json_integer_value(json_object_get(r, "start")) &&
		    at < (uint64_t)json_integer_value(json_object_get(r, "end")))
			return true;
	return false;
}

static int round_trip(const char *ram, char *before, size_t size, int round)
{
	size_t at, changed = 0, missed = 0, walker = 0;
	json_t *j;
	bool lost;

	tell("stop\n");
	memcpy(before, ram, size);
	json_decref(ask("collect -r"));
	tell("cont\n");
	usleep(700000);
	tell("stop\n");
	j = ask("collect -f");
	for (at = 0; at < size; at += FRAME) {
		if (!memcmp(ram + at, before + at, FRAME))
			continue;
		changed++;
		if (named(json_object_get(j, "ranges"), at))
			continue;
		if (same_but_for_walker(ram + at, before + at)) {
			walker++;
			continue;
		}
		missed++;
		printf("# missed %#zx\n", at);
	}
	lost = json_is_true(json_object_get(j, "lost"));
	rounds_with[json_integer_value(json_object_get(j, "guest_contexts")) != 0]++;
	printf("%sok %d - %zu frames changed, %lld named, %zu missed, %zu by the walker alone\n",
	       missed || lost || !changed ? "not " : "", round, changed,
	       (long long)json_integer_value(json_object_get(j, "dirty_frames")), missed, walker);
	json_decref(j);
	tell("cont\n");
	return missed || lost || !changed;
}

/*
 * Host's logging on or off, guest's on or off: the rounds had the host's on,
 * and with it off the guest goes on for itself.
 */
static int states(int test)
{
	json_t *j;
	bool ok;

	json_decref(ask("disable"));
	j = ask("status");
	ok = rounds_with[0] && rounds_with[1] &&
	     !strcmp(json_string_value(json_object_get(j, "events")), "none");
	json_decref(j);
	printf("%sok %d - all flag states: %d rounds with the guest's logging, %d without, then the "
	       "host's off\n",
	       ok ? "" : "not ", test, rounds_with[1], rounds_with[0]);
	return !ok;
}

int main(int argc, char **argv)
{
	int fd, round, rounds, bad = 0;
	struct stat st;
	char *ram, *before;

	if (argc != 6)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		die(argv[1]);
	ram = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	before = malloc((size_t)st.st_size);
	if (ram == MAP_FAILED || !before)
		die("memory");
	close(fd);
	dial(argv[2]);
	prompt();
	pml_host = argv[3];
	control = argv[4];
	rounds = (int)strtol(argv[5], NULL, 10);
	json_decref(ask("enable"));
	for (round = 1; round <= rounds || ((!rounds_with[0] || !rounds_with[1]) &&
					   round <= rounds + MOST_MORE); round++)
		bad |= round_trip(ram, before, (size_t)st.st_size, round);
	bad |= states(round++);
	free(before);
	printf("1..%d\n", round - 1);
	return bad;
}
