/* SPDX-License-Identifier: MIT */
/*
 * plot.c - draws the curve of `pml wss --plot` with gnuplot.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "plot.h"
#include "say.h"

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n > m && !strcmp(text + n - m, end);
}

int plot_check(const char *command, const char *file)
{
	int found;

	if (!ends_with(file, ".svg") && !ends_with(file, ".png"))
		return say_usage(command, "--plot %s: give a name that ends in .svg or .png", file);
	found = system("command -v gnuplot >/dev/null 2>&1");
	if (found != 0)
		return say_failed(command, "--plot: gnuplot draws it and is not installed; "
				  "install gnuplot-nox");
	return 0;
}

int plot_add(struct plot *p, struct plot_point point)
{
	if (p->n == p->room) {
		size_t room = p->room ? 2 * p->room : 256;
		struct plot_point *grown = reallocarray(p->points, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		p->points = grown;
		p->room = room;
	}
	p->points[p->n++] = point;
	return 0;
}

/* In gnuplot's single quotes only the quote itself is special. */
static void write_quoted(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text; text++) {
		if (*text == '\'')
			fputc('\'', out);
		fputc(*text == '\n' ? ' ' : *text, out);
	}
	fputc('\'', out);
}

static void write_script(FILE *out, const struct plot *p, const char *file, const char *title)
{
	fprintf(out, "set terminal %s size 960,480 noenhanced\nset output ",
		ends_with(file, ".svg") ? "svg" : "png");
	write_quoted(out, file);
	fputs("\nset title ", out);
	write_quoted(out, title);
	fputs("\nset xlabel 'seconds'\nset ylabel 'MiB'\nset yrange [0:*]\nset grid\n"
	      "set key outside top right\n$points << EOD\n", out);
	for (size_t i = 0; i < p->n; i++)
		fprintf(out, "%.6f %.6f %.6f\n", p->points[i].seconds,
			(double)p->points[i].wss_bytes / (1 << 20),
			(double)p->points[i].rss_bytes / (1 << 20));
	fputs("EOD\nplot $points using 1:3 with lines lw 1 lc rgb '#999999' title 'resident', \\\n"
	      "     $points using 1:2 with linespoints pt 7 ps 0.4 lw 2 lc rgb '#1f77b4' "
	      "title 'working set'\n", out);
}

int plot_draw(const struct plot *p, const char *command, const char *file, const char *title)
{
	FILE *gnuplot;

	if (!p->n)
		return say_failed(command, "--plot %s: nothing to draw: not one epoch was "
				  "completed; a smaller -i gives some", file);
	gnuplot = popen("gnuplot", "we");
	if (!gnuplot)
		return say_failed(command, "--plot %s: cannot run gnuplot: %m", file);
	write_script(gnuplot, p, file, title);
	if (pclose(gnuplot) != 0)
		return say_failed(command, "--plot %s: gnuplot could not draw it; its words are "
				  "above", file);
	return STATUS_OK;
}

void plot_free(struct plot *p)
{
	free(p->points);
	*p = (struct plot){ 0 };
}
