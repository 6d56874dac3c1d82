/* SPDX-License-Identifier: MIT */
/*
 * main.c - the command pml-criu: runs the keeper, asks it what it does, ends it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pml.h"
#include "serve.h"
#include "standard.h"
#include "wire.h"

enum { OK, FAILED, USAGE };

#define CGROUPS "/sys/fs/cgroup"
#define OWN_CGROUP CGROUPS "/pml-criu"

struct command_line {
	const char *socket;
	bool json;
	struct session_how how;
};

static void help(FILE *out)
{
	fputs("Usage: pml-criu start | run | status | stop [OPTION...]\n"
	      "\n"
	      "Keeps libpml's trackers between the rounds of `criu pre-dump` and `criu dump`\n"
	      "that have its plugin loaded (criu -L DIRECTORY-OF-libpml-criu.so).\n"
	      "\n"
	      "  start    run in the background, in a control group of its own\n"
	      "  run      run in the foreground, and in the control group that it is in\n"
	      "  status   what it watches\n"
	      "  stop     end it; the next round of each process is a full one\n"
	      "\n"
	      "  --socket PATH   (PML_CRIU_SOCKET, else " KEEPER_SOCKET ")\n"
	      "  --backend NAME  wp-async, ptscan, epml or spml (wp-async, else the best)\n"
	      "  --strict        take as dirty whatever the back-end says that it may not see\n"
	      "  --json          status as JSON\n", out);
}

static int say(int status, const char *what, const char *why)
{
	fprintf(stderr, "pml-criu: %s: %s\n", what, why);
	return status;
}

/* Why a back-end is of no use here, or NULL. */
static const char *useless(const char *name)
{
	if (!strcmp(name, "soft-dirty"))
		return "criu does that by itself; leave the plugin out";
	if (!strcmp(name, "hash"))
		return "of a process that runs it can only assume, and so all would be written";
	return NULL;
}

/* Of those that work the best; wp-async sees every writer, and so it is first, though it
 * is not the fastest. */
static const char *choose_backend(void)
{
	struct pml_probe_info info[24];
	int n = pml_probe(info, 24);
	const char *best = NULL;

	for (int i = 0; i < n && i < 24; i++) {
		if (!info[i].available || !info[i].external || !(info[i].events & PML_DIRTY) ||
		    useless(info[i].name))
			continue;
		if (!strcmp(info[i].name, "wp-async"))
			return "wp-async";
		if (!best)
			best = info[i].name;
	}
	return best;
}

static int check_backend(const char *name)
{
	struct pml_probe_info info[24];
	int n = pml_probe(info, 24);

	if (useless(name))
		return say(FAILED, name, useless(name));
	for (int i = 0; i < n && i < 24; i++) {
		if (strcmp(info[i].name, name) != 0)
			continue;
		if (!info[i].available)
			return say(FAILED, name, info[i].reason);
		if (!info[i].external || !(info[i].events & PML_DIRTY))
			return say(FAILED, name, "it cannot tell what another process writes; "
				   "see `pml info`");
		return OK;
	}
	return say(USAGE, name, "no such back-end; see `pml info`");
}

/* A process takes three descriptors or so, and the usual limit is 1,024. */
static void raise_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

static int prepare(struct command_line *c)
{
	/* else the socket would get a closed one's number, and start() puts others in its place */
	standard_hold();
	raise_limit();
	if (c->how.backend)
		return check_backend(c->how.backend);
	c->how.backend = choose_backend();
	if (!c->how.backend)
		return say(FAILED, "no back-end", "none works here; see `pml info`");
	if (strcmp(c->how.backend, "wp-async") != 0 && !c->how.strict) {
		c->how.strict = true;
		say(OK, c->how.backend, "wp-async does not work here, and this may not see what others "
		    "write into a process: strict; --backend NAME accepts that");
	}
	return OK;
}

static int listen_at(const char *path)
{
	int fd = serve_listen(path);

	if (fd == -EALREADY)
		say(FAILED, path, "a keeper runs there already; `pml-criu stop` ends it");
	else if (fd < 0)
		say(FAILED, path, strerror(-fd));
	return fd;
}

/* The socket's place, to be found again when the working directory is another. */
struct place {
	int dir;
	struct stat socket;
};

static int note_place(const char *path, struct place *p)
{
	p->dir = *path == '/' ? AT_FDCWD : open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->dir == -1 || fstatat(p->dir, path, &p->socket, AT_SYMLINK_NOFOLLOW))
		return say(FAILED, path, strerror(errno));
	return OK;
}

/* Somebody may have removed it, and another keeper have made its own there. */
static void leave_place(const char *path, const struct place *p)
{
	struct stat now;

	if (!fstatat(p->dir, path, &now, AT_SYMLINK_NOFOLLOW) &&
	    now.st_dev == p->socket.st_dev && now.st_ino == p->socket.st_ino)
		unlinkat(p->dir, path, 0);
}

static int run(struct command_line *c)
{
	int fd, status = prepare(c);
	struct place place;

	if (status)
		return status;
	fd = listen_at(c->socket);
	if (fd < 0 || note_place(c->socket, &place))
		return FAILED;
	status = serve(fd, &c->how);
	leave_place(c->socket, &place);
	close(fd);
	return status ? say(FAILED, "serve", strerror(-status)) : OK;
}

/* Where nobody freezes it with the process, nor ends it with a unit.  Only cgroup v2 has
 * it; on a machine with v1 the folder is a plain one.  NULL, or why it stays where it is. */
static const char *enter_own_cgroup(void)
{
	const char *why = NULL;
	char pid[24];
	int fd, n;

	if (access(CGROUPS "/cgroup.controllers", F_OK))
		return "there is no cgroup v2";
	if (mkdir(OWN_CGROUP, 0755) && errno != EEXIST)
		return strerror(errno);
	fd = open(OWN_CGROUP "/cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return strerror(errno);
	n = snprintf(pid, sizeof(pid), "%d", getpid());
	if (write(fd, pid, (size_t)n) != n)
		why = strerror(errno);
	close(fd);
	return why;
}

static void own_cgroup(void)
{
	const char *why = enter_own_cgroup();

	if (why)
		fprintf(stderr, "pml-criu: %s: not entered: %s; start the keeper where it is not "
			"frozen with the process\n", OWN_CGROUP, why);
}

/* Answers on the socket by the time that the command ends. */
static int start(struct command_line *c)
{
	int fd, null, status = prepare(c);
	struct place place;
	pid_t child;

	if (status)
		return status;
	fd = listen_at(c->socket);
	if (fd < 0 || note_place(c->socket, &place))
		return FAILED;
	own_cgroup();
	child = fork();
	if (child < 0)
		return say(FAILED, "fork", strerror(errno));
	if (child > 0)
		return OK;
	setsid();
	null = open("/dev/null", O_RDWR);
	if (chdir("/") || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		return FAILED;
	if (null > 2)
		close(null);
	status = serve(fd, &c->how);
	leave_place(c->socket, &place);
	return status ? FAILED : OK;
}

static int ask(const char *path, uint32_t type, struct spans *text)
{
	struct keeper_message m = { .type = type };
	int fd = wire_connect(path, 30), status;

	if (fd < 0)
		return say(FAILED, path, fd == -ENOENT || fd == -ECONNREFUSED ?
			   "no keeper runs there; `pml-criu start` starts one" : strerror(-fd));
	status = wire_send(fd, &m, NULL);
	if (!status)
		status = wire_receive(fd, &m, text);
	close(fd);
	return status ? say(FAILED, path, wire_words(status)) : OK;
}

static void print_status(const json_t *all)
{
	const json_t *processes = json_object_get(all, "processes");

	printf("back-end %s%s\n", json_string_value(json_object_get(all, "backend")),
	       json_is_true(json_object_get(all, "strict")) ? ", strict" : "");
	for (size_t i = 0; i < json_array_size(processes); i++) {
		const json_t *p = json_array_get(processes, i);

		printf("%lld: %s, %lld rounds, %lld MB known to be clean\n",
		       json_integer_value(json_object_get(p, "pid")),
		       json_string_value(json_object_get(p, "backend")),
		       json_integer_value(json_object_get(p, "rounds")),
		       json_integer_value(json_object_get(p, "clean_bytes")) >> 20);
	}
}

static int status_command(const struct command_line *c)
{
	struct spans text = { 0 };
	int status = ask(c->socket, KEEPER_STATUS, &text);
	size_t room = text.n * sizeof(*text.v);
	json_t *all;

	if (status)
		return status;
	all = json_loadb((const char *)text.v, room ? strnlen((const char *)text.v, room) : 0, 0,
			 NULL);
	if (all && c->json)
		printf("%.*s\n", (int)room, (const char *)text.v);
	else if (all)
		print_status(all);
	else
		status = say(FAILED, c->socket, "the answer makes no sense");
	json_decref(all);
	spans_free(&text);
	return status ? status : (fflush(stdout) || ferror(stdout)) ? FAILED : OK;
}

static int stop_command(const struct command_line *c)
{
	struct spans none = { 0 };
	int status = ask(c->socket, KEEPER_STOP, &none);

	spans_free(&none);
	/* it is gone when its socket is */
	for (int i = 0; !status && i < 1000 && !access(c->socket, F_OK); i++)
		usleep(10000);
	return status;
}

static int parse(int argc, char **argv, struct command_line *c)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "backend", required_argument, NULL, 'b' },
		{ "strict", no_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 's')
			c->socket = optarg;
		else if (o == 'b')
			c->how.backend = optarg;
		else if (o == 't')
			c->how.strict = true;
		else if (o == 'j')
			c->json = true;
		else if (o == 'h')
			return -1;
		else
			return USAGE;
	}
	c->socket = wire_path(c->socket);
	return optind == argc - 1 ? OK : say(USAGE, "usage", "one command; see pml-criu --help");
}

int main(int argc, char **argv)
{
	struct command_line c = { 0 };
	int status = parse(argc, argv, &c);

	if (status < 0) {
		help(stdout);
		return OK;
	}
	if (status)
		return status;
	if (!strcmp(argv[optind], "run"))
		return run(&c);
	if (!strcmp(argv[optind], "start"))
		return start(&c);
	if (!strcmp(argv[optind], "status"))
		return status_command(&c);
	if (!strcmp(argv[optind], "stop"))
		return stop_command(&c);
	return say(USAGE, argv[optind], "no such command; see pml-criu --help");
}
