/* The least any program does to read these files: one pread(2) each, on descriptors that are open. */
#include <unistd.h>

/* The bytes read, or -1 when one read fails. */
long read_all(const int *descriptors, long count)
{
    static char buffer[1 << 16];
    long total = 0;
    for (long each = 0; each < count; each++) {
        const ssize_t got = pread(descriptors[each], buffer, sizeof(buffer), 0);
        if (got < 0) {
            return -1;
        }
        total += got;
    }
    return total;
}
