/*
 * What the files of plimsoll._native share: the shape of a row and of its values. No Python here, so that the reader can
 * be built and run under sanitizers by itself.
 */
#ifndef PLIMSOLL_COMMON_H
#define PLIMSOLL_COMMON_H

#include <stddef.h>
#include <stdint.h>

/* How the text of a file is laid out; the numbers are those of plimsoll.kernel.batch_format.Format. */
enum {
    PL_FREE = -1, /* the row is not in use */
    PL_VALUE = 0,
    PL_KEYED = 1,
    PL_PSI = 2,
    PL_PRESSURE_STAT = 3
};

/* How reading a row went: 0, an errno value, or one of these. */
enum {
    PL_OK = 0,
    PL_CLOSED = -1, /* no descriptor */
    PL_ODD = -2     /* not the kernel's usual text, or too long: the parsers in Python have the last word */
};

enum {
    PL_KEYS_MAX = 31,         /* two bits each of one 64-bit word say which lines a section of pressure.stat has */
    PL_LINE_WORDS = 4,        /* avg10, avg60, avg300 in hundredths of a percent, total in microseconds */
    PL_BUFFER_SIZE = 1 << 16, /* longer files are left to Python */
    /* kernfs gives at most a page or a buffer at a time: a read that ends elsewhere was the last one. */
    PL_CHUNK = 4096
};

/*
 * One file. `offset` is where its values begin, `keys` where its `count` names begin in the key text: each is one byte of
 * length and the name. The first word of the values, except a VALUE's, is a mask of what the file has.
 */
struct pl_row {
    int32_t descriptor;
    int32_t format;
    int32_t offset;
    int32_t keys;
    int32_t count;
};

/* How many 64-bit words the values of a row take; 0 for a format or a count that cannot be. */
size_t pl_words(int32_t format, int32_t count);

/* Whether a row stays inside `words` words of values and `keys_size` bytes of key text. All else here relies on it. */
int pl_row_fits(const struct pl_row *row, const char *keys, size_t keys_size, size_t words);

/* Parse `size` bytes of text into `values`. PL_OK or PL_ODD; after PL_ODD the values mean nothing. */
int32_t pl_parse(const struct pl_row *row, const char *keys, const char *text, size_t size, int64_t *values);

/* Read and parse a row's file through `buffer` of PL_BUFFER_SIZE bytes. PL_OK, PL_CLOSED, PL_ODD or an errno value. */
int32_t pl_read(const struct pl_row *row, const char *keys, char *buffer, int64_t *values);

#endif
