/* SPDX-License-Identifier: MIT */
/*
 * pml-qemu.c - starts qemu-system-x86_64 with the PML device: give it the
 * arguments that QEMU would get.  Used by people and by tests/vm/run.
 *
 * It makes a socket pair, whose one end goes to the plugin and the other to
 * the chardev of an ivshmem-doorbell device, and adds both to the command
 * line.  For QEMU up to 7.2 it preloads keep_callbacks.c.  The process becomes
 * QEMU.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB (1ull << 20)
/* Beyond these QEMU puts RAM above 4 GiB, where 7.2's plugins get other addresses. */
#define MOST_RAM	(3072 * MIB)
#define MOST_RAM_Q35	(2048 * MIB)
#define MOST_VCPUS	64
#define MOST_ARGUMENTS	1000

static const char usage[] =
	"usage: pml-qemu [--pml OPTION=VALUE]... QEMU-ARGUMENT...\n"
	"\n"
	"Runs qemu-system-x86_64 (or $PML_QEMU) with the PML device.\n"
	"\n"
	"  --pml control=PATH  a socket for pml-host\n"
	"  --pml offload=on    the hypervisor's full logs are drained by a thread\n"
	"  --pml memory=BYTES  cap for page states (268435456)\n"
	"  --pml user=on       hear the hint instruction in user mode too (tests)\n"
	"  --pml faults=MASK   break the device on purpose (test builds)\n"
	"$PML_DEVICE_OPTIONS may hold more of them, with commas between.\n";

static int fail(const char *what, const char *why, const char *todo)
{
	fprintf(stderr, "pml: %s: %s; %s\n", what, why, todo);
	return 1;
}

/* A size as -m takes it: 512, 512M, 1.5G, slots=2,size=2G...  0: it is none. */
static uint64_t ram_size(const char *text)
{
	static const char units[] = "bkmgtpe";
	const char *named = strstr(text, "size="), *unit;
	double bytes;
	char *end;

	bytes = strtod(named ? named + 5 : text, &end);
	unit = *end && *end != ',' ? strchr(units, *end | 0x20) : strchr(units, 'm');
	if (!unit)
		return 0;
	bytes *= (double)(1ull << (10 * (unit - units)));
	/* as QEMU does, to whole pairs of pages */
	return bytes > 0 && bytes < 0x1p62 ? ((uint64_t)bytes + 8191) & ~8191ull : 0;
}

/* The number after @key in a list such as 2,maxcpus=4; without, or if it is too large, @other. */
static unsigned int numbered(const char *list, const char *key, unsigned int other)
{
	const char *at = strstr(list, key);
	unsigned long n;

	if (!at)
		return other;
	n = strtoul(at + strlen(key), NULL, 10);
	return n > MOST_VCPUS ? MOST_VCPUS + 1 : (unsigned int)n;
}

/* The number of vCPUs that there may be: 2, cpus=2, 2,maxcpus=4, sockets=2,cores=2. */
static unsigned int vcpu_count(const char *text)
{
	static const char *const parts[] = {
		"drawers=", "books=", "sockets=", "dies=", "clusters=", "modules=", "cores=",
		"threads=",
	};
	unsigned int n = 1;

	if (strstr(text, "maxcpus="))
		return numbered(text, "maxcpus=", 0);
	if (strstr(text, "cpus="))
		return numbered(text, "cpus=", 0);
	if (*text >= '0' && *text <= '9')
		return numbered(text, "", 0);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && n <= MOST_VCPUS; i++)
		n *= numbered(text, parts[i], 1);
	return n;
}

/* Which of the two plugins: the interface changed with QEMU 9.1. */
static int plugin_api(const char *qemu)
{
	int major = 0, minor = 0;
	char text[PATH_MAX + 32];
	FILE *f;

	if (snprintf(text, sizeof(text), "'%s' --version", qemu) >= (int)sizeof(text))
		return -1;
	f = popen(text, "re");
	if (!f)
		return -1;
	if (fscanf(f, "QEMU emulator version %d.%d", &major, &minor) != 2)
		major = -1;
	pclose(f);
	if (major < 0)
		return -1;
	return major > 9 || (major == 9 && minor >= 1) ? 3 : 1;
}

static const char *own_directory(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		return ".";
	path[n] = 0;
	return dirname(path);
}

struct machine {
	uint64_t ram;
	unsigned int vcpus;
	bool q35;
	char options[1024];
};

static bool add_option(struct machine *m, const char *option)
{
	size_t n = strlen(m->options);

	return snprintf(m->options + n, sizeof(m->options) - n, ",%s", option) <
	       (int)(sizeof(m->options) - n);
}

/* QEMU takes its options with one dash or two. */
static bool is_option(const char *arg, const char *name)
{
	return !strcmp(arg, name) || (arg[0] == '-' && !strcmp(arg + 1, name));
}

/* Looks at QEMU's arguments; ours are taken out.  Returns how many are left, or -1. */
static int look(int argc, char **argv, struct machine *m)
{
	int i, n = 0;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--pml") && i + 1 < argc) {
			if (!add_option(m, argv[++i]))
				return -1;
			continue;
		}
		if (i + 1 < argc && is_option(argv[i], "-m"))
			m->ram = ram_size(argv[i + 1]);
		if (i + 1 < argc && is_option(argv[i], "-smp"))
			m->vcpus = vcpu_count(argv[i + 1]);
		m->q35 |= strstr(argv[i], "q35") != NULL;
		argv[n++] = argv[i];
	}
	return n;
}

static int check(const struct machine *m)
{
	if (!m->ram || m->ram > (m->q35 ? MOST_RAM_Q35 : MOST_RAM))
		return fail("-m", "the device follows RAM below 4 GiB only",
			    "give at most 3G (2G with q35)");
	if (!m->vcpus || m->vcpus > MOST_VCPUS)
		return fail("-smp", "not 1 to 64 vCPUs", "give -smp at most 64");
	return 0;
}

__attribute__((format(printf, 1, 2))) static char *format(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	return text;
}

/* QEMU is to load this before all else. */
static bool preload(const char *path)
{
	const char *before = getenv("LD_PRELOAD");

	return !access(path, R_OK) &&
	       !setenv("LD_PRELOAD", before && *before ? format("%s:%s", path, before) : path, 1);
}

int main(int argc, char **argv)
{
	const char *qemu = getenv("PML_QEMU");
	const char *more = getenv("PML_DEVICE_OPTIONS");
	struct machine m = { .ram = 128 * MIB, .vcpus = 1 };
	const char *args[MOST_ARGUMENTS + 8];
	char *plugin;
	int n, api, pair[2];

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		fputs(usage, stdout);
		return 0;
	}
	if (!qemu)
		qemu = "qemu-system-x86_64";
	n = look(argc, argv, &m);
	if (n < 0 || (more && *more && !add_option(&m, more)))
		return fail("--pml", "too many options", "leave some out");
	if (n > MOST_ARGUMENTS)
		return fail("arguments", "too many", "give at most 1000");
	if (check(&m))
		return 1;
	api = plugin_api(qemu);
	if (api < 0)
		return fail(qemu, "cannot be run, or is not QEMU",
			    "install qemu-system-x86, or set PML_QEMU");
	plugin = format("%s/pml-device-api%d.so", own_directory(), api);
	if (access(plugin, R_OK))
		return fail(plugin, strerror(errno), "build device/qemu-plugin");
	if (api == 1 && !preload(format("%s/pml-keep-callbacks.so", own_directory())))
		return fail("pml-keep-callbacks.so", "not there", "build device/qemu-plugin");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return fail("socketpair", strerror(errno), "check the limits of this process");
	args[0] = qemu;
	memcpy((void *)(args + 1), argv, (size_t)n * sizeof(*args));
	args[n + 1] = "-plugin";
	args[n + 2] = format("%s,fd=%d,ram=%llu%s", plugin, pair[0], (unsigned long long)m.ram,
			     m.options);
	args[n + 3] = "-chardev";
	args[n + 4] = format("socket,id=pml-device,fd=%d", pair[1]);
	args[n + 5] = "-device";
	args[n + 7] = NULL;
	args[n + 6] = format("ivshmem-doorbell,chardev=pml-device,vectors=%u", m.vcpus);
	execvp(qemu, (char *const *)args);
	return fail(qemu, strerror(errno), "install qemu-system-x86, or set PML_QEMU");
}
