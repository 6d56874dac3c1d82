/* SPDX-License-Identifier: MIT */
/*
 * redirect.h - the way with an unmodified criu, which has no hook for dirty pages: the
 * slots through which the criu executable calls openat, ioctl, pread, write and close
 * are set to pagemap.c's functions, which pass on whatever is not about
 * /proc/PID/pagemap or clear_refs.  Then criu's own functions are called on criu itself,
 * to see that they come by.  Called by plugin.c.
 */
#ifndef PML_CRIU_REDIRECT_H
#define PML_CRIU_REDIRECT_H

/* NULL, or what stands in the way, with `why`: then nothing has been changed. */
const char *redirect_take(const char **why);
void redirect_undo(void);

#endif
