/* Puts clocks of one process forward or back by as many seconds as the file SHIFTED_CLOCK says: that of the wall by
   the first number in it, the one that goes on while the machine is suspended by the second. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static long shift(int which)
{
    static volatile long *seconds;
    if (!seconds) {
        const char *path = getenv("SHIFTED_CLOCK");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *seen = file < 0 ? MAP_FAILED : mmap(0, 2 * sizeof(long), PROT_READ, MAP_SHARED, file, 0);
        static volatile long none[2];
        seconds = seen == MAP_FAILED ? none : seen;
    }
    return seconds[which];
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += shift(0);
    if (!failed && clock == CLOCK_BOOTTIME)
        now->tv_sec += shift(1);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec seen;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &seen);
    now->tv_sec = seen.tv_sec;
    now->tv_usec = seen.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *into)
{
    struct timespec seen;
    clock_gettime(CLOCK_REALTIME, &seen);
    if (into)
        *into = seen.tv_sec;
    return seen.tv_sec;
}
