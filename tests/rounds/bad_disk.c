/* A disk that takes so many syncs and then none (CHARTSEAL_SYNCS), laid over the C library of a validator's process by `LD_PRELOAD`:
 * the kernel says such a thing once, and what it kept back is gone (rounds/validators.rs). */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static long syncs;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("CHARTSEAL_SYNCS");
    syncs = text ? atol(text) : 0;
}

static int is_over(void) {
    if (__atomic_fetch_sub(&syncs, 1, __ATOMIC_RELAXED) > 0) {
        return 0;
    }
    errno = EIO;
    return 1;
}

int fsync(int file) { return is_over() ? -1 : (int)syscall(SYS_fsync, file); }

int fdatasync(int file) { return is_over() ? -1 : (int)syscall(SYS_fdatasync, file); }

int sync_file_range(int file, long offset, long bytes, unsigned int flags) {
    return is_over() ? -1 : (int)syscall(SYS_sync_file_range, file, offset, bytes, flags);
}
