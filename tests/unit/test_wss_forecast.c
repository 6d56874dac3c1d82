/* SPDX-License-Identifier: MIT */
/*
 * Forecasts of loads that ran: the sizes and lengths of the epochs that `pml wss` told of
 * a program that went round 256 MiB and 64 MiB in turn, three seconds each, in an
 * emulated guest on a busy machine (bench/wss/run --only periodic).  Epochs were to last
 * one second; they did not, and a cycle of the program took its six seconds and a
 * little.  And what is no period is not taken for one.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "pml_wss.h"

#define PAGE 4096u
#define MIB (1u << 20)
#define MS 1000000ull

struct recorded {
	unsigned int mib;
	unsigned int ms;
};

static const struct recorded reading[] = {
	{ 0, 1028 }, { 0, 989 }, { 0, 1000 }, { 0, 992 }, { 0, 1004 }, { 256, 1073 },
	{ 256, 989 }, { 256, 945 }, { 256, 1038 }, { 64, 962 }, { 64, 994 }, { 256, 1042 },
	{ 256, 1009 }, { 256, 1013 }, { 256, 955 }, { 64, 1086 }, { 64, 900 }, { 256, 1063 },
	{ 256, 995 }, { 256, 1006 }, { 256, 944 }, { 64, 995 }, { 64, 992 }, { 256, 1013 },
	{ 256, 1107 }, { 256, 918 }, { 256, 1040 }, { 64, 946 }, { 64, 1000 }, { 256, 1012 },
	{ 256, 1163 }, { 256, 942 }, { 256, 900 }, { 64, 1004 }, { 64, 967 }, { 256, 1070 },
	{ 256, 964 }, { 256, 1184 }, { 256, 775 }, { 64, 1028 }, { 256, 1742 }, { 256, 1836 },
	{ 256, 1352 }, { 64, 810 }, { 64, 1201 }, { 256, 1659 }, { 256, 2175 }, { 256, 1137 },
	{ 64, 951 }, { 64, 969 },
};

static const struct recorded writing[] = {
	{ 0, 1056 }, { 0, 1189 }, { 0, 798 }, { 0, 987 }, { 0, 1016 }, { 256, 1984 },
	{ 256, 1847 }, { 256, 335 }, { 64, 977 }, { 64, 1299 }, { 256, 3357 }, { 256, 1770 },
	{ 64, 524 }, { 256, 2931 }, { 256, 1431 }, { 64, 912 }, { 64, 922 }, { 256, 1001 },
	{ 256, 945 }, { 256, 1145 }, { 256, 820 }, { 64, 966 }, { 64, 998 }, { 64, 1362 },
	{ 256, 731 }, { 256, 975 }, { 256, 989 }, { 256, 1035 }, { 64, 977 }, { 64, 1072 },
	{ 256, 911 }, { 256, 1326 }, { 256, 749 }, { 256, 887 }, { 64, 980 }, { 64, 1054 },
	{ 256, 1009 }, { 256, 1450 }, { 256, 775 }, { 256, 906 }, { 64, 809 }, { 64, 1028 },
	{ 256, 1013 }, { 256, 1003 }, { 256, 1581 }, { 256, 535 }, { 64, 851 }, { 64, 1097 },
};

static const struct recorded mixed[] = {
	{ 0, 1014 }, { 0, 996 }, { 0, 1002 }, { 0, 997 }, { 0, 996 }, { 256, 1758 },
	{ 256, 403 }, { 256, 1071 }, { 256, 835 }, { 64, 969 }, { 64, 1188 }, { 256, 1025 },
	{ 256, 942 }, { 256, 1065 }, { 256, 880 }, { 64, 897 }, { 64, 989 }, { 256, 1191 },
	{ 256, 993 }, { 256, 1727 }, { 64, 189 }, { 64, 908 }, { 64, 1018 }, { 256, 1529 },
	{ 256, 1284 }, { 256, 1374 }, { 64, 810 }, { 64, 999 }, { 256, 1105 }, { 256, 1942 },
	{ 256, 1137 }, { 64, 1069 }, { 64, 1078 }, { 256, 956 }, { 256, 1006 }, { 256, 947 },
	{ 256, 1334 }, { 64, 883 }, { 64, 745 }, { 256, 957 }, { 256, 2163 }, { 256, 1298 },
	{ 64, 981 }, { 64, 991 }, { 256, 1152 }, { 256, 935 }, { 256, 1008 }, { 256, 931 },
	{ 64, 979 }, { 64, 999 },
};

static struct pml_wss *wss;
static uint64_t now_ns;

static void begin(void)
{
	now_ns = 0;
	cr_assert_eq(pml_wss_open(&wss, NULL), 0);
}

static void epoch_of(uint64_t pages, uint64_t ns)
{
	struct pml_range range = {
		.start = 0x500000000ull, .end = 0x500000000ull + pages * PAGE,
		.granule = PAGE, .pid = 1, .events = PML_REFERENCED,
	};
	struct pml_result r = {
		.epoch = now_ns + 1, .begin_ns = now_ns, .end_ns = now_ns + ns,
		.page_size = PAGE, .ranges = &range, .nranges = pages ? 1 : 0,
	};

	now_ns += ns;
	cr_assert_eq(pml_wss_add(wss, &r), 1);
}

static struct pml_wss_forecast forecast(void)
{
	struct pml_wss_forecast f = { .size = sizeof(f) };

	cr_assert_eq(pml_wss_predict(wss, &f), 0);
	return f;
}

/* In percent of the last value's, the errors of all forecasts of a series, from its
 * second epoch on; how often there was a period. */
static uint64_t errors_of(const struct recorded *series, size_t n, unsigned int *periods)
{
	uint64_t ours = 0, last_value = 0;

	begin();
	*periods = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t value = (uint64_t)series[i].mib * (MIB / PAGE);

		if (i) {
			struct pml_wss_forecast f = forecast();
			uint64_t last = (uint64_t)series[i - 1].mib * (MIB / PAGE);

			ours += f.pages > value ? f.pages - value : value - f.pages;
			last_value += last > value ? last - value : value - last;
			*periods += f.period >= 5 && f.period <= 7;
		}
		epoch_of(value, series[i].ms * MS);
	}
	pml_wss_close(wss);
	return last_value ? ours * 100 / last_value : 100;
}

#define check_recorded(series, most) do {						\
	unsigned int periods;								\
	uint64_t percent = errors_of(series, sizeof(series) / sizeof(*(series)), &periods); \
	cr_assert_leq(percent, most, "%zu %%", (size_t)percent);			\
	cr_assert_geq(periods, 20, "%u", periods);					\
} while (0)

Test(wss_forecast, recorded_periods_are_found_and_forecast_better_than_by_the_last_value)
{
	check_recorded(reading, 60);
	check_recorded(writing, 80);
	check_recorded(mixed, 40);
}

/* Every third epoch takes as long as three: the load goes on meanwhile. */
Test(wss_forecast, an_epoch_that_took_longer_counts_as_several)
{
	uint64_t at = 0, wrong = 0;

	begin();
	for (unsigned int t = 0; t < 90; t++) {
		unsigned int seconds = t % 3 == 2 && t % 7 < 4 ? 3 : 1;
		uint64_t value = at % 12 < 5 ? 900 : 100;

		/* nothing changes within an epoch, as if it had been cut there */
		while (seconds > 1 && ((at + seconds - 1) % 12 < 5) != (at % 12 < 5))
			seconds--;
		if (t > 60) {
			cr_assert_eq(forecast().period, 12, "%u", forecast().period);
			wrong += forecast().pages != value;
		}
		epoch_of(value, seconds * 1000 * MS);
		at += seconds;
	}
	cr_assert_eq(wrong, 0);
	pml_wss_close(wss);
}

/* The negative control: of what does not repeat, no forecast is of a period, or hardly. */
Test(wss_forecast, noise_and_a_random_walk_have_hardly_any_period)
{
	unsigned int seed = 5, periods = 0;
	uint64_t walk = 5000;

	for (unsigned int run = 0; run < 10; run++) {
		begin();
		for (unsigned int t = 0; t < 100; t++) {
			epoch_of(1000 + (uint64_t)rand_r(&seed) % 1000, 1000 * MS);
			periods += forecast().period != 0;
		}
		pml_wss_close(wss);
		begin();
		for (unsigned int t = 0; t < 100; t++) {
			walk += (uint64_t)rand_r(&seed) % 401;
			walk = walk > 1200 ? walk - 200 : 1000;
			epoch_of(walk, 1000 * MS);
			periods += forecast().period != 0;
		}
		pml_wss_close(wss);
	}
	cr_assert_leq(periods, 100, "%u of 2000", periods);
}
