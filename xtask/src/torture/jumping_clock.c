/* Lets the time of day jump by hours, forwards and backwards, every 50 ms, for a program that preloads this. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t jump(void) {
  static const time_t hours[] = {0, 5, -7, 26, -1, -3000, 9000};
  struct timespec since;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &since);
  long slot = since.tv_sec * 20 + since.tv_nsec / 50000000;
  return 3600 * hours[slot % (sizeof(hours) / sizeof(hours[0]))];
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += jump();
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec exact;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec exact;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
  if (out) *out = exact.tv_sec;
  return exact.tv_sec;
}
